"""`lightbox evaluate`: `command` declares its options, `scoring` gets the answers, `run` writes the report."""
