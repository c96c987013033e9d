"""The C library's allocator, from which Python takes large blocks."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 2**20
_ARENAS = 2
# Advices of madvise(2): the kernel merges pages when it finds time, and at once (since Linux 6.1).
_HUGE_PAGES, _COLLAPSE = 14, 25
_HUGE_BYTES = 2**21
# A mapping is a line of its addresses, what it may be used for, and its file, then lines of figures.
_MAPPING = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\]|\[anon:.*\])?\n(?:(?!Rss:).*\n)*Rss: +(\d+) kB", re.MULTILINE
)
_MOST_EMPTY = 0.1


def return_large_blocks() -> bool:
    """Have blocks of a mebibyte and more returned to the system as soon as they are freed; whether that is possible.

    By default glibc keeps blocks of up to 32 MiB in its heap once one of them was freed, and cannot return the heap
    while anything behind them is in use: the memory of many large bodies would stay with the process. It also makes a
    heap for each thread that works beside the event loop; few are enough, since one thread runs Python at a time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    settings = ((_MMAP_THRESHOLD, _LARGE_BYTES), (_TRIM_THRESHOLD, _LARGE_BYTES), (_ARENA_MAX, _ARENAS))
    return mallopt is not None and all(mallopt(kind, value) for kind, value in settings)


def use_huge_pages() -> int:
    """Have what this process holds in memory now lie on huge pages, where the system allows it; the bytes concerned.

    A request reads objects all over the heap, and with small pages the processor searches for the place of nearly each.
    Memory that hardly has free pages is meant only, so that it does not grow. Not for a process that shares its memory
    with another one by forking: each would get a copy.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
    if madvise is None:
        return 0
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    advised = 0
    try:
        smaps = Path("/proc/self/smaps").read_text(errors="replace")
    except OSError:
        # Some kernels and containers have none.
        return 0
    for begin, end in _full_mappings(smaps):
        size = end - begin
        if madvise(begin, size, _HUGE_PAGES) == 0:
            madvise(begin, size, _COLLAPSE)
            advised += size
    return advised


def _full_mappings(smaps: str) -> Iterator[tuple[int, int]]:
    """The beginning and end of memory that belongs to no file and is in use, in whole huge pages."""
    for begin, end, resident_kb in _MAPPING.findall(smaps):
        first, last = int(begin, 16), int(end, 16)
        is_full = int(resident_kb) * 1024 >= (1 - _MOST_EMPTY) * (last - first)
        first, last = -(-first // _HUGE_BYTES) * _HUGE_BYTES, last // _HUGE_BYTES * _HUGE_BYTES
        if is_full and last > first:
            yield first, last
