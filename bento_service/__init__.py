"""Lightbox's server: a BentoML service that runs image classifiers adaptively."""

__version__ = "0.1.0"
