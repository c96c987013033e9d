"""Whether two samples of prompts come from one distribution: the energy distance, and a permutation test.

`E = 2 mean |x - y| - mean |x - x'| - mean |y - y'|` is 0 where both are the same, and above where they are not, in any
number of dimensions (Székely & Rizzo 2013). The p-value is the share of random divisions of all prompts into two such
samples whose distance is at least as great. Pure: the divisions are drawn from a seed.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from router.types import Doubles, Mask

PERMUTATIONS = 599


class Difference(Struct, frozen=True):
    """The energy distance of two samples, as a share of the mean distance between all points, and its p-value."""

    distance: float
    p: float


def distances_of(points: Doubles) -> Doubles:
    """The distances `(n, n)` between points `(n, numbers)`."""
    squares = np.square(points).sum(axis=1)
    distances: Doubles = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2.0 * (points @ points.T), 0.0))
    return distances


def distance(distances: Doubles, is_first: Mask) -> float:
    """The energy distance of the points that are in the first sample from all others, as in `Difference`."""
    signs = np.where(is_first, 1.0 / max(int(is_first.sum()), 1), -1.0 / max(int((~is_first).sum()), 1))
    mean = float(distances.mean())
    return max(float(-signs @ distances @ signs), 0.0) / mean if mean > 0 else 0.0


def difference(distances: Doubles, is_first: Mask, seed: int = 0) -> Difference:
    """The difference of the points that are in the first sample from all others, from the distances between all."""
    count, first = len(is_first), int(is_first.sum())
    orders = np.argsort(np.random.default_rng(seed).random((PERMUTATIONS, count)), axis=1)
    signs = np.where(orders < first, 1.0 / first, -1.0 / (count - first))
    energies = -np.einsum("pi,pi->p", signs @ distances, signs)
    found = distance(distances, is_first)
    # Rounded, since the same division in another order may differ in the last digits.
    least = found * float(distances.mean()) * (1.0 - 1e-9)
    return Difference(found, (1.0 + float((energies >= least).sum())) / (1.0 + PERMUTATIONS))
