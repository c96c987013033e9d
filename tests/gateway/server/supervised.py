"""Workers that note what they do, and the process that supervises them: little to import, since each imports it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

from router.gateway.server.listener import listen
from router.gateway.server.server import Hooks, run
from router.gateway.server.workers import WorkerError, WorkerSupervisor

SLOW_START_S = 0.1
# Small, so that these tests are quick; `route serve` has SHARED.
FORKS_FROM = "router.gateway.server.server"


def note(what: str) -> None:
    with Path("notes").open("a") as notes:
        notes.write(f"{what} {os.getpid()}\n")


def serve_slowly(_: int) -> None:
    """A server with a slow start, which notes its start, when it is ready, each SIGHUP, and its end."""

    async def app(scope: object, receive: object, send: object) -> None:
        await receive()  # type: ignore[operator]
        note("starting")
        await asyncio.sleep(SLOW_START_S)
        await send({"type": "lifespan.startup.complete"})  # type: ignore[operator]
        await receive()  # type: ignore[operator]
        note("ended")
        await send({"type": "lifespan.shutdown.complete"})  # type: ignore[operator]

    note("spawned")
    time.sleep(SLOW_START_S)
    with listen("127.0.0.1", 0) as listener:
        run(app, listener, Hooks(on_ready=lambda: note("ready"), on_hangup=lambda: note("hangup")))


def fail(_: int) -> None:
    sys.exit(7)


def fail_later(_: int) -> None:
    """Work in the first generation, fail in every later one."""
    note("spawned")
    if Path("broken").exists():
        note("failed")
        sys.exit(7)
    note("ready")
    time.sleep(60)


def main(target: str, min_uptime_s: float) -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        Path("port").write_text(str(listener.getsockname()[1]))
        supervise(target, listener, min_uptime_s)


def supervise(target: str, listener: socket.socket, min_uptime_s: float) -> None:
    try:
        WorkerSupervisor(globals()[target], 2, note, listener, min_uptime_s, max_delay_s=1, forks_from=FORKS_FROM).run()
    except WorkerError as error:
        sys.exit(error.exit_code)
