"""HTTP around a request: the route table, reading bodies, error responses and the middleware."""
