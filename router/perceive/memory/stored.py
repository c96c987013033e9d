"""A memory as bytes: what workers and gateways share. Whatever is read is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router.perceive.memory.card import CHOICES, ROWS, CardMemory
from router.perceive.memory.fast_head import SIZE, FastHeads
from router.perceive.memory.voters import NAMED, SLOTS
from router.types import Doubles

_FORMAT, _WITHOUT_HEADS = 2, 1
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "sums": (ROWS, SLOTS),
    "counts": (ROWS, SLOTS),
    "gains": (len(CHOICES), SLOTS),
    "squares": (len(CHOICES), SLOTS),
    "scored": (SLOTS,),
    "errors": (SLOTS,),
    "at_s": (SLOTS,),
}
_HEAD_SHAPES: Mapping[str, tuple[int, ...]] = {
    "information": (NAMED, SIZE, SIZE),
    "moments": (NAMED, SIZE),
    "scores": (NAMED, 3),
}
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
    arrays = b"".join(_dtype(name, getattr(memory, name)).tobytes() for name in _SHAPES)
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
    if stored.format not in (_FORMAT, _WITHOUT_HEADS):
        raise ValueError(f"has format {stored.format}; this release reads {_FORMAT}")
    values: dict[str, Any] = {}
    at = 0
    shapes = _SHAPES if stored.format == _WITHOUT_HEADS else {**_SHAPES, **_HEAD_SHAPES}
    for name, shape in shapes.items():
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
    heads = FastHeads.empty(NAMED)
    if stored.format == _FORMAT:
        heads = FastHeads(**{name: values.pop(name) for name in _HEAD_SHAPES})
    return CardMemory(stored.basis, stored.tenants, heads=heads, votes=stored.votes, **values)


def _dtype(name: str, values: Doubles) -> Any:
    return values.astype("<f8" if name == "at_s" else "<f4")


def _check(values: Mapping[str, Doubles], votes: int) -> None:
    if any(not np.isfinite(each).all() for each in values.values()):
        raise ValueError("is damaged: it has a number that is not finite")
    counts, scored = values["counts"], values["scored"]
    possible = (
        votes >= 0
        and all((values[name] >= 0).all() for name in ("counts", "squares", "scored", "errors", "at_s"))
        and (counts <= _MOST_VOTES).all()
        # Residuals are in [-1, 1], and so is what a correction gains.
        and (np.abs(values["sums"]) <= counts + _ROUNDING).all()
        and (np.abs(values["gains"]) <= 4 * scored + _ROUNDING).all()
        and (values["scores"][:, 1:] >= 0 if "scores" in values else np.array(True)).all()
        and _are_covariances(values.get("information"))
    )
    if not possible:
        raise ValueError("is damaged: it has an impossible number")


def _are_covariances(information: Doubles | None) -> bool:
    """Whether these are sums of `x xᵀ`: only then has a head one solution."""
    if information is None:
        return True
    symmetric = np.allclose(information, information.transpose(0, 2, 1), rtol=1e-4, atol=_ROUNDING)
    return bool(symmetric and np.linalg.eigvalsh(information).min() > -1.0)
