"""LitServe with its dynamic batching."""
