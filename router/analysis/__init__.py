"""Analysis of records and forecasts: decision replay, savings, and the Pareto front of quality and cost."""
