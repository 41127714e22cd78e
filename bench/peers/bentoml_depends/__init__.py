"""BentoML, an API service in front of a batchable runner, through `depends()`."""
