"""An engine of learning that runs units in forked processes, one for each core: for long benchmarks on one machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from router.learn.engine import Arrays
from router.learn.progress import MIN_ITEMS, tracked

T = TypeVar("T")


class Forked:
    """Runs the units of each `map` in `processes` children, which have the parent's data without a copy.

    Each computes with one thread, so that the results are those of one process with `OMP_NUM_THREADS=1`.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes

    def map(
        self,
        unit: Callable[[T], Arrays],
        items: Sequence[T],
        description: str,
        min_items: int = MIN_ITEMS,
        noun: str = "",
    ) -> Iterator[Arrays]:
        """See `Engine.map`. The children start when the first result is asked for."""
        context = multiprocessing.get_context("fork")
        count = min(self._processes, len(items))
        children, pipes = [], []
        for first in range(count):
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_run, args=(unit, items[first::count], sender), daemon=True)
            child.start()
            sender.close()
            children.append(child)
            pipes.append(receiver)
        for number in tracked(range(len(items)), description, min_items, noun):
            failed, result = pipes[number % count].recv()
            if failed:
                raise result
            yield result
        for child in children:
            child.join()


def _run(unit: Callable[[Any], Arrays], items: Sequence[Any], sender: Connection) -> None:
    with threadpool_limits(1):
        for item in items:
            try:
                result = unit(item)
            except Exception as error:  # noqa: BLE001 - passed on to the parent
                sender.send((True, error))
                return
            sender.send((False, result))
