"""The tasks that run beside the requests, for as long as the worker does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from router.gateway.learning.judges import Judges
from router.gateway.learning.learner import Learner

_LOG = logging.getLogger(__name__)
_PAUSE_S = 1.0
_LAST_LESSONS_S = 1.0


async def kept_running(run: Callable[[], Awaitable[None]], pause_s: float = _PAUSE_S) -> None:
    """Run what ends by being cancelled only; where it fails, log that and begin again after a pause.

    Nobody awaits such a task before the worker ends, so without this it would be missing until then, unnoticed.
    """
    while True:
        try:
            await run()
            return
        except Exception:  # noqa: BLE001 - the outermost edge of a task
            name = getattr(run, "__qualname__", repr(run))
            _LOG.exception("the background task %s failed; it begins again", name)
            await asyncio.sleep(pause_s)


async def learn_last(judges: Judges, learner: Learner) -> None:
    """Learn what the last requests have shown, as far as that is quick."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_LESSONS_S):
            await judges.finish()
            await learner.finish()
    if learner.waiting:
        _LOG.warning("%d judgements were not learned before the end", learner.waiting)
