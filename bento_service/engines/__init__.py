"""Engines: what runs a model on a device. Each imports its library only as it is made."""
