"""Learning while the gateway runs: what counts as an outcome, how much, and what of it the error memory is told."""
