"""When Python searches for cycles of garbage. While much is loaded there are hardly any, and each search stops the
process for up to half a second.
"""

from __future__ import annotations

import gc
import threading

_LOCK = threading.Lock()
_PAUSED_BY: set[str] = set()


def pause_search(by: str) -> None:
    """Search for none until everyone who has paused it resumes it. `by` names who does."""
    with _LOCK:
        _PAUSED_BY.add(by)
        gc.disable()


def resume_search(by: str) -> None:
    """End the pause of `by`. Nothing happens where it has paused nothing."""
    with _LOCK:
        if by in _PAUSED_BY:
            _PAUSED_BY.remove(by)
            if not _PAUSED_BY:
                gc.enable()
