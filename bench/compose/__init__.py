"""Several models for one request against the best single choice, on sets with the answers of several models."""
