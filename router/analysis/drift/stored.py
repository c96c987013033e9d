"""The state of a card's tests as bytes: what workers and gateways share. Whatever is read is checked."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router.analysis.drift.calibration import BINS
from router.analysis.drift.cusum import Cusum
from router.analysis.drift.judged import COLUMNS, KINDS, NAMED, Alarm, CardDrift
from router.types import Doubles

_FORMAT = 1
_FIELDS = Cusum.__struct_fields__
_ONE_SIDED = ("level", "information")


class _Stored(Struct, frozen=True, array_like=True):
    format: int
    basis: str
    tenants: tuple[str, ...]
    kinds: tuple[str, ...]
    judged: int
    alarms: tuple[Alarm, ...]
    numbers: bytes
    times: bytes


def to_bytes(drift: CardDrift) -> bytes:
    """At most about 10 kB. Times need more digits than float32 has."""
    tests = drift.tests
    arrays = [drift.bins, *(getattr(tests, name) for name in _FIELDS if name != "starts")]
    numbers = b"".join(array.astype("<f4").tobytes() for array in arrays)
    times = drift.last_s.astype("<f8").tobytes() + tests.starts.astype("<f8").tobytes()
    stored = _Stored(_FORMAT, drift.basis, drift.tenants, drift.kinds, drift.judged, drift.alarms, numbers, times)
    return msgspec.msgpack.encode(stored)


def from_bytes(content: bytes) -> CardDrift:
    """The inverse of `to_bytes`. Raises ValueError for content that was never written so."""
    try:
        stored = msgspec.msgpack.decode(content, type=_Stored)
    except msgspec.DecodeError as error:
        raise ValueError(f"is damaged: {error}") from None
    if stored.format != _FORMAT:
        raise ValueError(f"has format {stored.format}; this release reads {_FORMAT}")
    if len(stored.tenants) > NAMED or len(stored.kinds) > KINDS:
        raise ValueError("is damaged: it has too much")
    columns = (1 + len(stored.kinds)) * COLUMNS
    shapes: dict[str, tuple[int, ...]] = {
        "bins": (BINS, 4),
        **{name: (columns,) if name in _ONE_SIDED else (2, columns) for name in _FIELDS if name != "starts"},
    }
    numbers = _arrays(stored.numbers, "<f4", shapes)
    times = _arrays(stored.times, "<f8", {"last_s": (NAMED,), "starts": (2, columns)})
    bins, last_s = numbers.pop("bins"), times.pop("last_s")
    tests = Cusum(**numbers, **times)
    if (tests.information <= 0).any() or (tests.sums < 0).any() or (tests.counts < 0).any() or (bins < 0).any():
        raise ValueError("is damaged: it has an impossible number")
    return CardDrift(stored.basis, stored.tenants, last_s, stored.kinds, tests, bins, stored.judged, stored.alarms)


def _arrays(content: bytes, dtype: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    flat: Doubles = (
        np.frombuffer(content, dtype=dtype).astype(np.float64) if len(content) % int(dtype[-1]) == 0 else (np.empty(0))
    )
    if len(flat) != sum(sizes.values()) or not np.isfinite(flat).all():
        raise ValueError("is damaged: its numbers are not those of a test")
    ends = np.cumsum(list(sizes.values()))[:-1]
    return {name: part.reshape(shapes[name]) for name, part in zip(sizes, np.split(flat, ends), strict=True)}
