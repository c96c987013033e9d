"""The dialects of servers and models."""
