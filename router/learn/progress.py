"""Progress of long-running work, on standard error: a bar at a terminal, little or nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
_MIN_ITEMS = 2_000
_STEPS_PER_LINE = 8


def tracked(items: Sequence[T], description: str, min_items: int = _MIN_ITEMS) -> Iterable[T]:
    """Iterate over `items`, at a terminal with a bar where there are at least `min_items`."""
    if len(items) < min_items or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=description, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def step_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Give a function that shows the steps done, the steps in total and a text.

    At a terminal it updates a bar, which stays visible; elsewhere it prints the text every eighth step and at the end.
    """
    if not sys.stderr.isatty():
        yield _print_some_steps
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(BarColumn(24), TextColumn("{task.description}"), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total, text: progress.update(task, completed=done, total=total, description=text)


def _print_some_steps(done: int, total: int, text: str) -> None:
    if done % _STEPS_PER_LINE == 0 or done == total:
        print(text, file=sys.stderr)  # noqa: T201 - progress
