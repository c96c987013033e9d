"""The shared state of several gateways, in Redis or Valkey: alone, or in a cluster."""
