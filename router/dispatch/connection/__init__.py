"""How the connection to an upstream is made: by way of which proxy, with which certificates and headers."""
