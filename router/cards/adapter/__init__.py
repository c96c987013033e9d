"""Adapters: what their cards state, what they take from their base's card, and the checks that need both."""
