"""What a Swarm needs on top of the Compose file."""
