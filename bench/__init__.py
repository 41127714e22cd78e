"""Measurements: each module runs as `python -m bench.<name>` and keeps its figures in `results/`."""
