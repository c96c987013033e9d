"""A progress bar on standard error for long work at a terminal; silent otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
_LONG = 2_000


def tracked(items: Sequence[T], what: str, long: int = _LONG) -> Iterable[T]:
    """`items`, with a bar while they are gone through, where there are `long` or more."""
    if len(items) < long or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=what, console=Console(stderr=True), transient=True)
