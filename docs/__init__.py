"""What the documentation generates from the code."""
