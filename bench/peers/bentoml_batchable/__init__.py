"""BentoML, one service, `batchable=True`."""
