"""Prepared models: the store, and what is read from it. Imports errors and domain, never PyTorch."""
