"""Pauses of Python's cyclic garbage collector. While much is loaded there are hardly any cycles of garbage, and each
collection stops the process for up to half a second.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_PAUSED_BY: set[str] = set()


@contextlib.contextmanager
def search_paused(by: str) -> Iterator[None]:
    """Disable Python's cyclic garbage collector in this block, unless `resume_search` ends the pause earlier.

    `by` names who pauses. Where several do, the collector is enabled when the last pause ends, even if the program had
    disabled it before.
    """
    with _LOCK:
        _PAUSED_BY.add(by)
        gc.disable()
    try:
        yield
    finally:
        resume_search(by)


def resume_search(by: str) -> None:
    """End the pause of `by`. Nothing happens where it has paused nothing."""
    with _LOCK:
        if by in _PAUSED_BY:
            _PAUSED_BY.remove(by)
            if not _PAUSED_BY:
                gc.enable()
