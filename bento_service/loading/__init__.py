"""Stored models to warm engines: at the start, and beside traffic. Imports pipeline, engines and the rooms below."""
