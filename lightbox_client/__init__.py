"""The wire contract of Lightbox and a Python client for it."""
