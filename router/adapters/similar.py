"""How similar the changes of two adapters are: near duplicates, and what two that are added up do to each other.

Near duplicates are found by a random sketch of ΔW, and confirmed by the exact cosine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from router.adapters.base import Base
from router.adapters.delta import delta_of
from router.adapters.folder import Adapter
from router.adapters.safetensors import Matrix
from router.errors import CallerError, ConfigurationError

_SKETCH_VALUES = 2048
_FEWEST_PROBES = 8
# A sketch estimates the cosine with an error; what it finds close is computed.
_WORTH_COMPUTING = 0.8
_NEARLY_THE_SAME = 0.98


# 190 pairs of 20 adapters that were trained for different tasks have at most .05, and in single modules at most .19.
MOST_INTERFERENCE = 0.2


class Interference(Struct, frozen=True):
    """What two adapters that are added up do to each other.

    `cosine` is that of their ΔW over all modules, in [-1, 1], where a module that one of them leaves alone counts as
    0; `largest` is the cosine of the module `module` whose size is the largest. `sum_norm` is the norm of the sum over
    that of two orthogonal changes, so 1 where neither amplifies nor cancels the other; `times` the norm of the second
    over that of the first. `shared` modules of `modules` are changed by both.
    """

    one: str
    other: str
    cosine: float
    largest: float
    module: str | None
    sum_norm: float
    times: float
    shared: int
    modules: int

    @property
    def is_beyond(self) -> bool:
        """Whether the two should not be added up: they change the same."""
        return abs(self.cosine) > MOST_INTERFERENCE


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


def interference(one: Adapter, other: Adapter, base: Base | None = None) -> Interference:
    """What `one` and `other` do to each other where they are added up.

    Raises CallerError where they are of different bases or change nothing, ConfigurationError where a ΔW is not known.
    """
    if _bases_differ(one, other):
        bases = f"{one.config.base_model}, {other.config.base_model}"
        raise CallerError(f"{one.folder} and {other.folder} are of different bases ({bases})")
    first, second = (
        {module: delta_of(adapter, module, base) for module in adapter.modules} for adapter in (one, other)
    )
    squares = [sum(delta.inner(delta) for delta in deltas.values()) for deltas in (first, second)]
    for adapter, square in zip((one, other), squares, strict=True):
        if not square > 0:
            raise CallerError(f"{adapter.folder}: changes nothing; see `route adapters lint`")
    shared = sorted(first.keys() & second.keys())
    inner, largest, module = 0.0, 0.0, None
    for name in shared:
        a, b = first[name], second[name]
        if a.left.shape[0] != b.left.shape[0] or a.right.shape[1] != b.right.shape[1]:
            raise CallerError(f"{name}: {one.folder} and {other.folder} change weights of different sizes")
        product, norms = a.inner(b), a.norm * b.norm
        inner += product
        if norms > 0 and abs(product / norms) > abs(largest):
            largest, module = product / norms, name
    return Interference(
        one=str(one.folder),
        other=str(other.folder),
        cosine=inner / math.sqrt(squares[0] * squares[1]),
        largest=largest,
        module=module,
        sum_norm=math.sqrt(max(0.0, 1 + 2 * inner / sum(squares))),
        times=math.sqrt(squares[1] / squares[0]),
        shared=len(shared),
        modules=len(first.keys() | second.keys()),
    )


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
