"""Whether a retrained artifact may take the place of another one, and whether it holds what it forecast afterwards."""
