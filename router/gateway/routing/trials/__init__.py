"""What the gateway tries out on a part of the requests: canaries, experiments, exploration."""
