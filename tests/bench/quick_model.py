"""The base model of tests in a format that llama.cpp computes with twice as fast: it takes eight rows of Q4_0 at a
time, and those of Q4_1 one by one for every token of a prompt.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_Q4_0, _Q4_1 = 2, 3
_BLOCK, _Q4_0_BYTES, _Q4_1_BYTES = 32, 18, 20
_ALIGNMENT = 32
# The format of each type of GGUF's metadata; strings and lists have a length.
_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9


def write_q4_0(model: Path, out: Path) -> None:
    """Write a GGUF model with its tensors of Q4_1 as Q4_0, and everything else as it is."""
    source = np.fromfile(model, np.uint8)
    header = memoryview(source)
    magic, _, tensors, fields = struct.unpack_from("<4sIQQ", header)
    assert magic == b"GGUF"
    at = 24
    for _ in range(fields):
        at = _after_string(header, at)
        at = _after_value(header, at + 4, *struct.unpack_from("<I", header, at))
    metadata, infos = header[:at], []
    for _ in range(tensors):
        begin, at = at, _after_string(header, at)
        (rank,) = struct.unpack_from("<I", header, at)
        at += 4 + 8 * rank
        size = math.prod(struct.unpack_from(f"<{rank}Q", header, at - 8 * rank))
        infos.append((header[begin:at], size, *struct.unpack_from("<IQ", header, at)))
        at += 12
    data = source[_aligned(at) :]
    ends = [offset for *_, offset in infos[1:]] + [len(data)]
    written, values, at = bytearray(), [], 0
    for (name, size, kind, offset), end in zip(infos, ends, strict=True):
        is_changed = kind == _Q4_1
        value = _q4_0(data[offset : offset + size // _BLOCK * _Q4_1_BYTES]) if is_changed else data[offset:end]
        written += bytes(name) + struct.pack("<IQ", _Q4_0 if is_changed else kind, at)
        values.append(value)
        at += _aligned(len(value))
    with out.open("wb") as file:
        file.write(metadata)
        file.write(written)
        for value in values:
            file.write(bytes(_aligned(file.tell()) - file.tell()))
            file.write(value)


def _aligned(at: int) -> int:
    return -(-at // _ALIGNMENT) * _ALIGNMENT


def _after_string(header: memoryview, at: int) -> int:
    (length,) = struct.unpack_from("<Q", header, at)
    return at + 8 + int(length)


def _after_value(header: memoryview, at: int, kind: int) -> int:
    if kind == _STRING:
        return _after_string(header, at)
    if kind != _LIST:
        return at + struct.calcsize(_NUMBERS[kind])
    kind, length = struct.unpack_from("<IQ", header, at)
    at += 12
    if kind in _NUMBERS:
        return at + int(length) * struct.calcsize(_NUMBERS[kind])
    for _ in range(length):
        at = _after_value(header, at, kind)
    return at


def _q4_0(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blocks of a scale, a minimum and 32 levels of 4 bits as such without a minimum."""
    blocks = data.reshape(-1, _Q4_1_BYTES)
    scale, low = (blocks[:, at : at + 2].copy().view("<f2").astype(np.float32) for at in (0, 2))
    levels = np.concatenate((blocks[:, 4:] & 15, blocks[:, 4:] >> 4), axis=1)
    # Nearly every block has the levels 0 and 15. As llama.cpp does: what is farthest from zero becomes level 0.
    high = low + 15 * scale
    new_scale = (np.where(-low > high, low, high) / -8).astype("<f2")
    divisor = np.where(new_scale == 0, 1, new_scale.astype(np.float32))
    new = np.minimum(levels * (scale / divisor) + (low / divisor + 8.5), 15).astype(np.uint8)
    return np.concatenate((new_scale.view(np.uint8), new[:, :16] | new[:, 16:] << 4), axis=1).reshape(-1)
