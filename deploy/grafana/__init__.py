"""Grafana's provisioning, and the board."""
