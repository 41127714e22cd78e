"""Prometheus series, and the files in which several processes keep theirs. Imports errors, domain and machine."""
