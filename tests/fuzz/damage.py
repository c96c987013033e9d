"""Damage to bytes that any fuzzer may do."""

from __future__ import annotations

import random


def truncated(rng: random.Random, data: bytes) -> bytes:
    """The beginning of `data`."""
    return data[: rng.randrange(len(data) + 1)]


def flipped(rng: random.Random, data: bytes, count: int) -> bytes:
    """`data` with up to `count` bytes replaced."""
    damaged = bytearray(data)
    for _ in range(min(count, len(damaged))):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)
