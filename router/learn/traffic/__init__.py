"""Slow learning: the predictor retrained from recorded requests whose answers were judged (S19)."""
