"""Calls at the same time, of which none outlives the plan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and wait until each has closed its call."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


@asynccontextmanager
async def together(work: Iterable[Coroutine[Any, Any, T]]) -> AsyncIterator[AsyncIterator[T]]:
    """The results in the order in which they come. Leaving the block cancels what is not done."""
    tasks = [asyncio.ensure_future(each) for each in work]

    async def results() -> AsyncIterator[T]:
        waiting: set[asyncio.Future[T]] = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            # In the order of the members where several have come.
            for task in tasks:
                if task in done:
                    yield task.result()

    try:
        yield results()
    finally:
        await cancelled(tasks)
