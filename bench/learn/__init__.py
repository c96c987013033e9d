"""What the error memory does to the quality of real answers: `python -m bench.learn`."""
