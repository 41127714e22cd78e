"""Engines: what runs a model on a device."""
