"""Encoded bytes to a model's input: format, limits, decoding, colour, resize. Pure; imports domain and errors."""
