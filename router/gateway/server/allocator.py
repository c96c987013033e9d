"""The C library's allocator, from which Python takes large blocks."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 2**20


def return_large_blocks() -> bool:
    """Have blocks of a mebibyte and more returned to the system as soon as they are freed; whether that is possible.

    By default glibc keeps blocks of up to 32 MiB in its heap once one of them was freed, and cannot return the heap
    while anything behind them is in use: the memory of many large bodies would stay with the process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(kind, _LARGE_BYTES) for kind in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
