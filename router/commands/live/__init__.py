"""Commands about a running gateway: what it has learned, what has changed, and what it tries out."""
