"""Pure functions from what the service said to Altair charts: one receipt, a window, the runner's cost model."""
