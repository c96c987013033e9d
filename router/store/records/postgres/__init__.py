"""Records in PostgreSQL, for several gateways. Only `address` may be imported without the extra `postgres`."""
