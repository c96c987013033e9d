"""Experiments: which of several policies or cards does better, looked at whenever one likes."""
