"""The C library's allocator, from which Python takes large blocks."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 2**20
_ARENAS = 2


def return_large_blocks() -> bool:
    """Have blocks of a mebibyte and more returned to the system as soon as they are freed; whether that is possible.

    By default glibc keeps blocks of up to 32 MiB in its heap once one of them was freed, and cannot return the heap
    while anything behind them is in use: the memory of many large bodies would stay with the process. It also makes a
    heap for each thread that works beside the event loop; few are enough, since one thread runs Python at a time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    settings = ((_MMAP_THRESHOLD, _LARGE_BYTES), (_TRIM_THRESHOLD, _LARGE_BYTES), (_ARENA_MAX, _ARENAS))
    return mallopt is not None and all(mallopt(kind, value) for kind, value in settings)
