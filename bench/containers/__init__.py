"""What containers cost: their images' sizes, the time to be ready, images a second, a change of code."""
