"""Peers on the same engine as Lightbox on a GPU. They run in Lightbox's own environment, which has PyTorch."""
