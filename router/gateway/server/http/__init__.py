"""HTTP/1.1 on one connection: heads, bodies, flow control, and what is sent at once."""
