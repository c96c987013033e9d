"""Streams of every protocol: when they are complete, and their conversion from and to whole answers."""
