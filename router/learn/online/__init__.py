"""Learning while the gateway runs: what counts as an outcome, how much, and which votes the error memory gets."""
