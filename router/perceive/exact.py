"""Arithmetic whose every bit is defined, so that the compiled kernel and every machine give the same results.

Libraries differ in the last bits of `exp`, and in the order in which they add the products of a matrix product. Here
both are made of single additions and multiplications in a fixed order, as in `kernel/lanes.h`.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable

import numpy as np

from router.types import Doubles

_MOST = 700.0
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
"""Their sum is the logarithm of two; a product of the first with a small integer is exact (as in FDLIBM)."""

_TERMS = tuple(1.0 / math.factorial(power) for power in range(13, -1, -1))


def exp(x: Doubles) -> Doubles:
    """`exp` of an array, bounded at `exp(±700)`; the error is below one unit in the last place."""
    bounded = np.minimum(np.maximum(x, -_MOST), _MOST)
    power = np.rint(bounded * _LOG2_E)
    rest = (bounded - power * _LN2_HIGH) - power * _LN2_LOW
    total = np.full(np.shape(rest), _TERMS[0])
    for term in _TERMS[1:]:
        total *= rest
        total += term
    scaled: Doubles = np.ldexp(total, power.astype(np.int32))
    return scaled


def in_order(rows: Doubles, matrix: Doubles) -> Doubles:
    """`rows @ matrix`, where the products of each row are added in order: a row's bits depend on that row alone."""
    # A single column would be added in another order.
    several = matrix if matrix.shape[1] > 1 else np.repeat(matrix, 2, axis=1)
    sums = np.empty((len(rows), several.shape[1]))
    for row, total in zip(rows, sums, strict=True):
        np.add.reduce(row[:, None] * several, axis=0, out=total)
    return sums[:, : matrix.shape[1]]


def total(values: Iterable[float]) -> float:
    """The sum, added in order. `sum` does that until Python 3.11 only: later ones make up for what is rounded."""
    return functools.reduce(operator.add, values, 0.0)


def interpolated(x: Doubles, points: Doubles, values: Doubles) -> Doubles:
    """The values at `x`, of any shape: linear between `points`, which ascend, and constant beyond them."""
    if len(points) == 1:
        return np.full(np.shape(x), values[0])
    low = np.clip(np.searchsorted(points, x, side="right") - 1, 0, len(points) - 2)
    # Two equal points have no slope, and nothing lies between them.
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (values[low + 1] - values[low]) / (points[low + 1] - points[low])
        between = values[low] + slopes * (x - points[low])
    found: Doubles = np.where(x <= points[0], values[0], np.where(x >= points[-1], values[-1], between))
    return found
