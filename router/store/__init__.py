"""Remembering what was decided and what came of it."""
