"""Adapters that are nearly the same: found by a random sketch of ΔW, confirmed by the exact cosine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from router.adapters.delta import delta_of
from router.adapters.folder import Adapter
from router.adapters.safetensors import Matrix
from router.errors import ConfigurationError

_SKETCH_VALUES = 2048
_FEWEST_PROBES = 8
# A sketch estimates the cosine with an error; what it finds close is computed.
_WORTH_COMPUTING = 0.8
_NEARLY_THE_SAME = 0.98


class Pair(Struct, frozen=True):
    """Two adapters, the cosine of their ΔW over all modules, and the norm of the second over that of the first."""

    one: str
    other: str
    cosine: float
    times: float


def nearly_the_same(adapters: Sequence[Adapter]) -> list[Pair]:
    """The pairs of adapters of one base whose ΔW point in nearly the same direction."""
    sketches = [sketch(adapter) for adapter in adapters]
    pairs = []
    for n, one in enumerate(adapters):
        for m in range(n + 1, len(adapters)):
            other = adapters[m]
            if set(sketches[n]) != set(sketches[m]) or not sketches[n] or _bases_differ(one, other):
                continue
            if abs(_cosine(sketches[n], sketches[m])) < _WORTH_COMPUTING:
                continue
            cosine, times = _exact(one, other)
            if cosine > _NEARLY_THE_SAME:
                pairs.append(Pair(str(one.folder), str(other.folder), cosine, times))
    return pairs


def sketch(adapter: Adapter) -> dict[str, Matrix]:
    """For each module, values uᵀ·ΔW·v with random u and v that depend on module and shape only.

    The product of two sketches has the inner product of the ΔW as its mean. Empty where ΔW is not known.
    """
    if not adapter.modules:
        return {}
    probes = max(_FEWEST_PROBES, math.ceil(_SKETCH_VALUES / len(adapter.modules)))
    values = {}
    for module in adapter.modules:
        try:
            delta = delta_of(adapter, module)
        except ConfigurationError:
            return {}
        seed = hashlib.sha256(f"{module} {delta.left.shape[0]} {delta.right.shape[1]}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(seed[:8], "big"))
        u = random.standard_normal((probes, len(delta.left)))
        v = random.standard_normal((delta.right.shape[1], probes))
        values[module] = np.asarray(np.sum((u @ delta.left) * (delta.right @ v).T, axis=1), np.float64)
    return values


def _cosine(one: Mapping[str, Matrix], other: Mapping[str, Matrix]) -> float:
    first, second = (np.concatenate([values[module] for module in sorted(values)]) for values in (one, other))
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norms if norms > 0 and math.isfinite(norms) else 0.0


def _exact(one: Adapter, other: Adapter) -> tuple[float, float]:
    """The cosine of the two ΔW, and the norm of the second over that of the first."""
    inner = first = second = 0.0
    for module in one.modules:
        a, b = delta_of(one, module), delta_of(other, module)
        if a.left.shape[0] != b.left.shape[0] or a.right.shape[1] != b.right.shape[1]:
            return 0.0, 1.0
        inner += a.inner(b)
        first, second = first + a.inner(a), second + b.inner(b)
    return inner / math.sqrt(first * second), math.sqrt(second / first)


def _bases_differ(one: Adapter, other: Adapter) -> bool:
    bases = one.config.base_model, other.config.base_model
    return None not in bases and bases[0] != bases[1]
