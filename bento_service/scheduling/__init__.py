"""The adaptive batcher: a queue, lanes and a policy over measured costs. Imports domain and errors alone."""
