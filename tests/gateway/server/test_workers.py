"""Workers are told what the first process is told, at whatever moment that is, and are replaced when they die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.gateway.server.serve import listen, run
from router.gateway.server.workers import WorkerError, WorkerSupervisor, ready_for_signals
from tests.gateway.servers import wait_for

ROOT = Path(__file__).parents[3]
SOUND_AFTER_S = 0.5
SLOW_START_S = 0.5

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals to processes")


def note(what: str) -> None:
    with Path("notes").open("a") as notes:
        notes.write(f"{what} {os.getpid()}\n")


def serve_slowly(_: int) -> None:
    """A gateway that takes a while to be ready, and notes that it was, that it was told to read anew, and its end."""

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
        run(app, listener, lambda: note("ready"), on_hangup=lambda: note("told"))


def fail(_: int) -> None:
    sys.exit(7)


def main(work: str, sound_after_s: float) -> None:
    try:
        WorkerSupervisor(globals()[work], 2, note, sound_after_s).run()
    except WorkerError as error:
        sys.exit(error.exit_code)


@contextlib.contextmanager
def crew(folder: Path, work: str, sound_after_s: float = 10.0) -> Iterator[subprocess.Popen[bytes]]:
    code = f"from tests.gateway.server import test_workers; test_workers.main({work!r}, {sound_after_s})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pid in noted(folder, "spawned"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def noted(folder: Path, what: str) -> list[int]:
    """The processes that have noted it."""
    notes = folder / "notes"
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    return [int(line[-1]) for line in lines if line[0] == what]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("moment", ["spawned", "starting", "ready"])
def test_whenever_it_is_told_to_end_all_workers_end(tmp_path: Path, moment: str) -> None:
    with crew(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: bool(noted(tmp_path, moment)), 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not [pid for pid in noted(tmp_path, "spawned") if is_running(pid)]


@pytest.mark.parametrize("moment", ["spawned", "starting", "ready"])
def test_whenever_it_is_told_to_read_anew_all_workers_do(tmp_path: Path, moment: str) -> None:
    with crew(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: len(noted(tmp_path, moment)) == 2, 30)
        process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: len(noted(tmp_path, "told")) == 2, 30)
        assert sorted(noted(tmp_path, "told")) == sorted(noted(tmp_path, "spawned"))


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with crew(tmp_path, "serve_slowly", SOUND_AFTER_S) as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 30)
        time.sleep(SOUND_AFTER_S)
        os.kill(noted(tmp_path, "ready")[0], signal.SIGKILL)
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 3, 30)
        assert process.poll() is None


def test_workers_that_cannot_start_end_the_crew_with_their_status(tmp_path: Path) -> None:
    with crew(tmp_path, "fail") as process:
        assert process.wait(30) == 7


def test_signals_are_not_held_back_from_the_first_process() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    ready_for_signals()
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
