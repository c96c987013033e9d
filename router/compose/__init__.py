"""Carry out plans: which upstream calls a decision leads to, in which order."""
