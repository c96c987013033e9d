"""Requests, raw heads and upstreams' streams with mutations, against a real gateway."""

from bench.fuzz.findings import SEED, Finding, Result
from bench.fuzz.heads import fuzz_heads
from bench.fuzz.requests import fuzz_requests
from bench.fuzz.streams import fuzz_streams

__all__ = ["SEED", "Finding", "Result", "fuzz_heads", "fuzz_requests", "fuzz_streams"]
