"""What a gateway costs, Pulvinar's and others', side by side in one run: `python -m bench.gateway`."""
