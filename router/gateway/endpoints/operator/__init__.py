"""Endpoints for operators: what servers have loaded, and how to change that."""
