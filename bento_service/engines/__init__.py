"""Engines: one model on one device, a library per module, imported on first use. Imports machine and below."""
