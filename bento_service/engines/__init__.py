"""Engines: one model on one device, a library a module, which loads as an engine is made. Imports machine and below."""
