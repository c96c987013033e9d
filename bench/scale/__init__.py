"""How many gateways, shards and databases a load needs: measured here, computed past this machine, and simulated."""
