"""Hostile clients against a real gateway, with honest clients of another key beside them."""
