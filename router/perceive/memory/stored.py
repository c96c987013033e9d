"""A memory as bytes: what workers and gateways share. Whatever is read is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router.perceive.memory.card import SHAPES, CardMemory
from router.perceive.memory.fast_head import SIZE, FastHeads
from router.perceive.memory.voters import NAMED
from router.types import Doubles

_FORMAT = 3
_HEAD_SHAPES: Mapping[str, tuple[int, ...]] = {
    "information": (NAMED, SIZE, SIZE),
    "moments": (NAMED, SIZE),
    "scores": (NAMED, 3),
}
_COUNTS = ("counts", "recent_counts", "scored")
_SUMS_OF = (("sums", "counts"), ("recent_sums", "recent_counts"))
_MOST_VOTES = 1e6
_ROUNDING = 1e-3


class _Stored(Struct, frozen=True, array_like=True):
    format: int
    basis: str
    tenants: tuple[str, ...]
    votes: int
    arrays: bytes


def to_bytes(memory: CardMemory) -> bytes:
    """The memory as bytes, always of about the same length."""
    # Seconds since 1970 need more digits than float32 has.
    arrays = b"".join(_dtype(name, getattr(memory, name)).tobytes() for name in SHAPES)
    arrays += b"".join(_dtype(name, getattr(memory.heads, name)).tobytes() for name in _HEAD_SHAPES)
    return msgspec.msgpack.encode(_Stored(_FORMAT, memory.basis, memory.tenants, memory.votes, arrays))


def from_bytes(content: bytes) -> CardMemory:
    """The inverse of `to_bytes`. Raises ValueError for content that no memory has: one wrong cell would stay for ever
    (as in litellm #35590).
    """
    try:
        stored = msgspec.msgpack.decode(content, type=_Stored)
    except msgspec.DecodeError as error:
        raise ValueError(f"is damaged: {error}") from None
    if stored.format != _FORMAT:
        raise ValueError(f"has format {stored.format}; this release reads {_FORMAT}")
    values: dict[str, Any] = {}
    at = 0
    for name, shape in {**SHAPES, **_HEAD_SHAPES}.items():
        dtype = np.dtype("<f8" if name == "at_s" else "<f4")
        size = int(np.prod(shape)) * dtype.itemsize
        piece = stored.arrays[at : at + size]
        if len(piece) != size:
            raise ValueError("is damaged: it is too short")
        values[name] = np.frombuffer(piece, dtype=dtype).astype(np.float64).reshape(shape)
        at += size
    if at != len(stored.arrays) or len(stored.tenants) > NAMED or len(set(stored.tenants)) < len(stored.tenants):
        raise ValueError("is damaged: it has too much")
    _check(values, stored.votes)
    heads = FastHeads(**{name: values.pop(name) for name in _HEAD_SHAPES})
    return CardMemory(stored.basis, stored.tenants, heads=heads, votes=stored.votes, **values)


def _dtype(name: str, values: Doubles) -> Any:
    return values.astype("<f8" if name == "at_s" else "<f4")


def _check(values: Mapping[str, Doubles], votes: int) -> None:
    if any(not np.isfinite(each).all() for each in values.values()):
        raise ValueError("is damaged: it has a number that is not finite")
    possible = (
        votes >= 0
        and all((values[name] >= 0).all() for name in (*_COUNTS, "squares", "errors", "at_s"))
        and all((values[name] <= _MOST_VOTES).all() for name in _COUNTS)
        # Residuals are in [-1, 1], and so is what a correction gains.
        and all((np.abs(values[sums]) <= values[counts] + _ROUNDING).all() for sums, counts in _SUMS_OF)
        and (np.abs(values["gains"]) <= 4 * values["scored"] + _ROUNDING).all()
        and (values["scores"][:, 1:] >= 0).all()
        and _are_covariances(values["information"])
    )
    if not possible:
        raise ValueError("is damaged: it has an impossible number")


def _are_covariances(information: Doubles) -> bool:
    """Whether these are sums of `x xᵀ`: only then has a head one solution."""
    symmetric = np.allclose(information, information.transpose(0, 2, 1), rtol=1e-4, atol=_ROUNDING)
    return bool(symmetric and np.linalg.eigvalsh(information).min() > -1.0)
