"""A progress bar on standard error for long-running work at a terminal; silent otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
_MIN_ITEMS = 2_000


def tracked(items: Sequence[T], description: str, min_items: int = _MIN_ITEMS) -> Iterable[T]:
    """Iterate over `items`, with a progress bar where there are at least `min_items`."""
    if len(items) < min_items or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=description, console=Console(stderr=True), transient=True)
