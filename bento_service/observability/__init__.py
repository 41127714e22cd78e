"""Prometheus series, and their files that several processes share. Imports errors, domain and machine."""
