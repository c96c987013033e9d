"""Pulvinar: sends each prompt to the model or adapter that is best for it."""

__version__ = "0.1.0"
