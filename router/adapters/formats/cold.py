"""Adapters at 8, 4, 2 or 1 bits a value, for cold storage, and the way back.

Bytes of the file: 8 and the header, for each matrix short·(⌈long·bits / 8⌉ + 4), for each other value 4.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.adapters import config as configs
from router.adapters.folder import COLD_WEIGHTS, WEIGHTS, Adapter
from router.adapters.formats.packed import Bits, Packed
from router.adapters.safetensors import write
from router.errors import CallerError, ConfigurationError
from router.formats.files import replace_file


class Stored(Struct, frozen=True):
    """The written file: its bytes, those of its header, those before, and the norm of what the values lost, relative to
    the norm of the values.
    """

    bits: int
    bytes_before: int
    bytes: int
    header_bytes: int
    error: float


def quantise(adapter: Adapter, out: Path, bits: Bits) -> Stored:
    """Write `adapter` with `bits` a value to the new folder `out`.

    Raises CallerError where `out` exists or the adapter is quantised, ConfigurationError where a value is not finite.
    """
    if adapter.packed:
        raise CallerError(f"{adapter.folder} is quantised; quantise the original, or what `restore` makes of this")
    tensors: dict[str, NDArray[Any]] = {}
    stated: dict[str, list[int]] = {}
    lost = total = 0.0
    for name, tensor in adapter.tensors.items():
        values = adapter.values(name)
        if not np.isfinite(values).all():
            raise ConfigurationError(f"{adapter.weights}: {name}: has NaN or infinite values")
        if len(tensor.shape) == 2 and tensor.dtype.startswith(("F", "BF")):
            packed = Packed(bits, (tensor.shape[0], tensor.shape[1]))
            codes, scales = packed.pack(values)
            tensors[f"{name}.codes"], tensors[f"{name}.scales"] = codes, scales
            stated[name] = [bits, *tensor.shape]
            restored = packed.unpack(codes, scales)
        else:
            tensors[name] = values.astype("<f4")
            restored = tensors[name].astype(np.float64)
        lost, total = lost + float(np.sum((values - restored) ** 2)), total + float(np.sum(values**2))
    _begin(adapter, out)
    write(out / COLD_WEIGHTS, tensors, {"packed": json.dumps(stated, separators=(",", ":"))})
    size = (out / COLD_WEIGHTS).stat().st_size
    return Stored(
        bits=bits,
        bytes_before=adapter.weights.stat().st_size,
        bytes=size,
        header_bytes=size - sum(values.nbytes for values in tensors.values()),
        error=float(np.sqrt(lost / total)) if total > 0 else 0.0,
    )


def restore(adapter: Adapter, out: Path) -> int:
    """Write a quantised adapter with float32 values to the new folder `out`. Returns the bytes of the file.

    Raises CallerError where `out` exists or the adapter is not quantised.
    """
    if not adapter.packed:
        raise CallerError(f"{adapter.folder} is not quantised")
    tensors = {name: adapter.values(name).astype("<f4") for name in adapter.tensors}
    _begin(adapter, out)
    write(out / WEIGHTS, tensors)
    return (out / WEIGHTS).stat().st_size


def _begin(adapter: Adapter, out: Path) -> None:
    """Make the folder `out` with the adapter's configuration."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CallerError(f"{out} already exists; give another folder")
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / configs.FILE_NAME, adapter.config.file.read_bytes(), mode=0o666)
