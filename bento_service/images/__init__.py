"""Bytes to pixels to tensor: sniff, limits, orientation, colour, resize. Pure and synchronous."""
