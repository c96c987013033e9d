"""Adapters on servers: how a request names one, and how one is loaded before it is called."""
