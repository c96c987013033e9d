"""Progress of long-running work, on standard error: a bar at a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
MIN_ITEMS = 2_000
_STEPS_PER_LINE = 8
_SECONDS_PER_LINE = 3.0


class _Lines:
    """Prints at most one line every few seconds, whichever loop it comes from."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def show(self, text: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _SECONDS_PER_LINE
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress


_lines = _Lines()


def tracked(items: Sequence[T], description: str, min_items: int = MIN_ITEMS, noun: str = "") -> Iterable[T]:
    """Iterate over `items`, and show how many are done where there are at least `min_items`.

    A terminal shows a bar; otherwise there are lines such as `mint, kNN: fold 2 of 5`, where `noun` is `fold`.
    """
    if len(items) < min_items:
        return items
    if not sys.stderr.isatty():
        return _with_lines(items, f"{description}: {noun}{' ' if noun else ''}")
    from rich.console import Console
    from rich.progress import track

    return track(items, description=description, console=Console(stderr=True), transient=True)


def _with_lines(items: Sequence[T], start: str) -> Iterator[T]:
    for number, item in enumerate(items, 1):
        _lines.show(f"{start}{number} of {len(items)}")
        yield item


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
