"""The client of a request: its address, its connection, and the exchange of its request and the response."""
