"""CPU, latency and memory of Pulvinar's gateway and others, compared in one run: `python -m bench.gateway`."""
