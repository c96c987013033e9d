"""Whether off-policy estimates cover the truth, and what exploration costs and brings: `python -m bench.off_policy`."""
