"""How often experiments err, and how soon they end, on real outcomes."""
