"""Read and write safetensors files with numpy: 8 bytes of length, a JSON header, the tensors' bytes.

Nothing of a file is trusted: every length and offset is checked against the file's size, and nothing is executed.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.errors import FileError
from router.formats.files import replacing

Matrix = NDArray[np.float64]
"""The values of a tensor, whatever dtype the file has."""

# Bytes a value, by the dtypes that safetensors files have.
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 8
_METADATA = "__metadata__"


class Tensor(Struct, frozen=True):
    """One entry of a header: `dtype` as the file names it, and where its bytes begin and end in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def values(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of `file` by name, in the order of the header. Raises FileError naming file and tensor."""
    header, start, total = _raw_header(file)
    header.pop(_METADATA, None)
    tensors = {name: _entry(file, name, value, start, total) for name, value in header.items()}
    _check_overlap(file, tensors)
    return tensors


def read_metadata(file: Path) -> dict[str, Any]:
    """What the header of `file` says beside its tensors. Raises FileError."""
    metadata = _raw_header(file)[0].get(_METADATA)
    return metadata if isinstance(metadata, dict) else {}


def _raw_header(file: Path) -> tuple[dict[str, Any], int, int]:
    """The header, where the tensors' bytes begin, and the size of the file."""
    try:
        total = file.stat().st_size
        with file.open("rb") as opened:
            prefix = opened.read(8)
            if len(prefix) < 8:
                raise _error(file, f"is {len(prefix)} bytes; a safetensors file begins with 8 bytes of length")
            length = struct.unpack("<Q", prefix)[0]
            if length > min(total - 8, _MAX_HEADER_BYTES):
                raise _error(file, f"is cut off or no safetensors file: a header of {length} bytes in {total} bytes")
            raw = opened.read(length)
    except OSError as error:
        raise _error(file, f"cannot be read: {error.strerror}") from None
    try:
        header = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _error(file, f"the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise _error(file, "the header is no JSON object")
    return header, 8 + length, total


def read_tensor(file: Path, tensor: Tensor) -> Matrix:
    """The values of `tensor` in float64, NaN and infinite ones included. Raises FileError."""
    dtype = _NUMPY.get(tensor.dtype)
    if dtype is None:
        raise _error(file, f"the dtype {tensor.dtype} cannot be read with numpy")
    try:
        raw = np.fromfile(file, np.uint8, tensor.end - tensor.begin, offset=tensor.begin)
    except OSError as error:
        raise _error(file, f"cannot be read: {error.strerror}") from None
    values = raw.view(dtype)
    if tensor.dtype == "BF16":
        # The upper half of a float32.
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float64).reshape(tensor.shape)


def write(file: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write float32, float16 or byte arrays as a safetensors file, in one step. Raises OSError."""
    names = {np.dtype("<f4"): "F32", np.dtype("<f2"): "F16", np.dtype("u1"): "U8"}
    header: dict[str, Any] = {_METADATA: dict(metadata or {"format": "pt"})}
    offset = 0
    for name, values in sorted(tensors.items()):
        header[name] = {
            "dtype": names[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [offset, offset + values.nbytes],
        }
        offset += values.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with replacing(file) as part, part.open("xb") as opened:
        opened.write(struct.pack("<Q", len(head)) + head)
        for _, values in sorted(tensors.items()):
            opened.write(np.ascontiguousarray(values).tobytes())


def _entry(file: Path, name: str, value: Any, start: int, total: int) -> Tensor:
    entry: dict[str, Any] = value if isinstance(value, dict) else {}
    shape, offsets, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise _error(file, f'{name}: dtype: "{dtype}" is none that safetensors files have')
    if not _sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise _error(file, f"{name}: shape: must be a list of at most {_MAX_DIMENSIONS} sizes, not {shape}")
    if not _sizes(offsets) or len(offsets) != 2:
        raise _error(file, f"{name}: data_offsets: must be the begin and the end, not {offsets}")
    begin, end = start + offsets[0], start + offsets[1]
    if end > total:
        raise _error(file, f"{name}: data_offsets: ends at byte {end}, but the file has {total}; is it cut off?")
    if end - begin != math.prod(shape) * _BYTES[dtype]:
        raise _error(file, f"{name}: data_offsets: {end - begin} bytes are not a {dtype} tensor of shape {shape}")
    return Tensor(dtype, tuple(shape), begin, end)


def _sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _check_overlap(file: Path, tensors: Mapping[str, Tensor]) -> None:
    behind = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin < behind:
            raise _error(file, f"{name}: data_offsets: overlaps another tensor")
        behind = tensor.end


def _error(file: Path, problem: str) -> FileError:
    return FileError(str(file), None, problem)
