"""Which adapter is loaded where, simulated: `python -m bench.residency`."""
