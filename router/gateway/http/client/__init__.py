"""The client of a request: its address, and sending to it within a time."""
