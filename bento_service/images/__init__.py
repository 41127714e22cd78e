"""Encoded bytes to a tensor: sniff, limits, orientation, colour, resize. Pure; imports domain and errors."""
