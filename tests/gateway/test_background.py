"""Tasks beside the requests."""

from __future__ import annotations

import asyncio

import pytest

from router.gateway.background import kept_running


def test_a_background_task_that_fails_is_logged_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[int] = []

    async def run() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise ValueError("a blob that nobody expected")

    asyncio.run(kept_running(run, pause_s=0.0))
    assert len(begun) == 3
    assert caplog.text.count("it begins again") == 2


def test_a_background_task_ends_when_it_is_cancelled() -> None:
    async def use() -> bool:
        task = asyncio.create_task(kept_running(asyncio.Event().wait))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    assert asyncio.run(use())
