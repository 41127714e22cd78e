"""Results of images that were seen before. Imports settings and below, and the client's circuit breaker."""
