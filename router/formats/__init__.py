"""Formats of text and files: numbers with units, YAML, JSON, URLs."""
