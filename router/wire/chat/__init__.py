"""Chat completions: read requests and responses, and build both for conversions."""
