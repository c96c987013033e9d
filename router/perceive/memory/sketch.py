"""SimHash: which cells of the error memory a prompt belongs to.

Each table has `BITS` planes through the origin; the sides on which a topic lies are the number of its cell. Two topics
with the angle θ share the cell of a table with the probability `(1 - θ / π) ** BITS` (Charikar, STOC 2002).
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from router.types import Doubles, Indices

TABLES, BITS = 4, 4
CELLS = 2**BITS
"""Tables, planes of a table, and cells of a table; chosen on cards and prompts that `bench.learn` does not report."""

_POWERS = 2 ** np.arange(BITS)


@functools.lru_cache(maxsize=8)
def planes(width: int) -> Doubles:
    """The normals of all planes `(TABLES * BITS, width)`, of -1 and 1; the same on every machine."""
    needed = TABLES * BITS * width
    raw = hashlib.shake_128(b"pulvinar error memory").digest((needed + 7) // 8)
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8))[:needed]
    return np.where(bits.reshape(TABLES * BITS, width) > 0, 1.0, -1.0)


def cells_of(topic: Doubles) -> Indices:
    """The cell in each table `(TABLES,)` of a prompt with this topic `(numbers,)`."""
    sides = planes(len(topic)) @ topic > 0
    return np.asarray(sides.reshape(TABLES, BITS) @ _POWERS, dtype=np.intp)
