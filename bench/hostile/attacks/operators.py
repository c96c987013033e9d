"""Trouble with processes and storage under load: killed workers, a locked store, signals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from bench.gateway.processes import tree
from bench.hostile.attack import Attack
from bench.hostile.bed import Bed


async def _killed(bed: Bed) -> list[str]:
    """Kill a worker again and again, the newborn ones too; the others must go on, and the crew be whole again."""
    parent = bed.server.pid
    before = set(_workers(parent))
    while not bed.is_over:
        workers = _workers(parent)
        # The youngest: mostly the replacement of the one killed before.
        young = [pid for pid in workers if pid not in before] or workers[-1:]
        for pid in young[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1.0)
    if not _is_running(parent):
        return ["the gateway ended"]
    return []


def _workers(parent: int) -> list[int]:
    """The workers: children of the process that they are forked from, which is a child of the gateway's first one, as
    is a helper of Python's.
    """
    helpers = {parent, *_children(parent)}
    return [pid for pid in tree(parent) if pid not in helpers]


def _children(parent: int) -> Iterator[int]:
    for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from map(int, tasks.read_text().split())


def _is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


async def _locked(bed: Bed) -> list[str]:
    """Another process holds the store of budgets; requests of a key with limits need it."""
    environment = Path(f"/proc/{bed.server.pid}/environ").read_bytes().split(b"\0")
    folder = next(entry for entry in environment if entry.startswith(b"PULVINAR_STORE=")).partition(b"=")[2].decode()
    async with bed.session() as session:
        # The file exists once a key with limits has asked.
        await bed.post(session, bed.chat())
        database = sqlite3.connect(Path(folder) / "state.sqlite", timeout=5, isolation_level=None)
        with contextlib.closing(database):
            database.execute("BEGIN IMMEDIATE")

            async def act(_: int) -> None:
                await bed.post(session, bed.chat())

            await bed.each(5, act)
            database.execute("ROLLBACK")
        # The gateway looks four times a second whether a store that could not be written can be written again.
        deadline_s = time.monotonic() + 1.0
        while (answer := await bed.post(session, bed.chat())).status != 200 and time.monotonic() < deadline_s:
            await asyncio.sleep(0.05)
    return [] if answer.status == 200 else [f"a key with limits gets {answer.status} a second after the lock"]


async def _signals(bed: Bed) -> list[str]:
    """Reload without end."""
    while not bed.is_over:
        os.kill(bed.server.pid, signal.SIGHUP)
        await asyncio.sleep(0.01)
    return []


OPERATORS = (
    Attack(name="killed-workers", run=_killed, workers=3, honest_retries=2, native=True),
    Attack(name="locked-store", run=_locked, evil={"rpm": 100_000}, native=True),
    Attack(name="reload-flood", run=_signals, native=True),
)
