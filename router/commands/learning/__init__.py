"""Commands that learn from outcomes, ask models for them, and show what was learned."""
