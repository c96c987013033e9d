"""Workers receive the signals of the supervisor at any moment, and are replaced when they exit."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.gateway.server.workers import unblock_signals
from tests.gateway.servers import wait_for

ROOT = Path(__file__).parents[3]
MIN_UPTIME_S = 0.5

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sends signals to processes")


@contextlib.contextmanager
def supervisor(folder: Path, target: str, min_uptime_s: float = 10.0) -> Iterator[subprocess.Popen[bytes]]:
    code = f"from tests.gateway.server import supervised; supervised.main({target!r}, {min_uptime_s})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pid in noted(folder, "spawned"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def noted(folder: Path, what: str) -> list[int]:
    """The ids of the processes that have noted it."""
    notes = folder / "notes"
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    return [int(line[-1]) for line in lines if line[0] == what]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("moment", ["spawned", "starting", "ready"])
def test_sigterm_at_any_moment_stops_all_workers(tmp_path: Path, moment: str) -> None:
    with supervisor(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: bool(noted(tmp_path, moment)), 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not [pid for pid in noted(tmp_path, "spawned") if is_running(pid)]


def test_a_service_manager_that_signals_all_processes_ends_them_in_order(tmp_path: Path) -> None:
    with supervisor(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 30)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
        assert sorted(noted(tmp_path, "ended")) == sorted(noted(tmp_path, "spawned"))


@pytest.mark.parametrize("moment", ["spawned", "starting", "ready"])
def test_sighup_at_any_moment_reaches_all_workers(tmp_path: Path, moment: str) -> None:
    with supervisor(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: len(noted(tmp_path, moment)) == 2, 30)
        process.send_signal(signal.SIGHUP)
        assert wait_for(lambda: len(noted(tmp_path, "hangup")) == 2, 30)
        assert sorted(noted(tmp_path, "hangup")) == sorted(noted(tmp_path, "spawned"))


def test_a_worker_that_exits_is_replaced(tmp_path: Path) -> None:
    with supervisor(tmp_path, "serve_slowly", MIN_UPTIME_S) as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        time.sleep(MIN_UPTIME_S)
        os.kill(noted(tmp_path, "ready")[0], signal.SIGKILL)
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 3, 90)
        assert process.poll() is None


def test_workers_outlive_the_process_that_forked_them(tmp_path: Path) -> None:
    with supervisor(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        first, second = noted(tmp_path, "ready")
        os.kill(parent_of(first), signal.SIGKILL)
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 3, 90)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert sorted(noted(tmp_path, "ended")) == sorted({*noted(tmp_path, "spawned")} - {first})
        assert not is_running(second)


def test_workers_that_fail_to_start_stop_the_supervisor_with_their_status(tmp_path: Path) -> None:
    with supervisor(tmp_path, "fail", 60) as process:
        assert process.wait(60) == 7


@pytest.mark.parametrize("times", [1, 3])
def test_a_worker_that_is_killed_right_after_its_start_is_replaced(tmp_path: Path, times: int) -> None:
    with supervisor(tmp_path, "serve_slowly", 60) as process:
        for number in range(times):
            assert wait_for(lambda number=number: len(noted(tmp_path, "spawned")) == 2 + number, 90)  # type: ignore[misc]
            os.kill(noted(tmp_path, "spawned")[-1], signal.SIGKILL)
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        assert process.poll() is None


def test_later_workers_that_fail_never_stop_the_others(tmp_path: Path) -> None:
    with supervisor(tmp_path, "fail_later", 60) as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        (tmp_path / "broken").touch()
        killed, other = noted(tmp_path, "ready")
        os.kill(killed, signal.SIGKILL)
        assert wait_for(lambda: len(noted(tmp_path, "failed")) >= 2, 90)
        assert process.poll() is None
        assert is_running(other)
        (tmp_path / "broken").unlink()
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 3, 90)


def test_where_no_worker_runs_connections_are_answered(tmp_path: Path) -> None:
    with supervisor(tmp_path, "fail_later", 60):
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        (tmp_path / "broken").touch()
        for pid in noted(tmp_path, "ready"):
            os.kill(pid, signal.SIGKILL)
        with socket.create_connection(("127.0.0.1", int((tmp_path / "port").read_text())), 10) as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 503")


def test_the_supervisor_closes_its_listener_when_it_stops(tmp_path: Path) -> None:
    with supervisor(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        port = int((tmp_path / "port").read_text())
        # A stopped worker neither ends nor accepts; here it has no listener either.
        os.kill(noted(tmp_path, "ready")[0], signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        assert wait_for(lambda: is_refused(port), 10)
        os.kill(noted(tmp_path, "ready")[0], signal.SIGCONT)
        assert process.wait(30) == 0


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_workers_whose_supervisor_was_killed_end(tmp_path: Path) -> None:
    with supervisor(tmp_path, "serve_slowly") as process:
        assert wait_for(lambda: len(noted(tmp_path, "ready")) == 2, 90)
        process.kill()
        assert wait_for(lambda: not any(map(is_running, noted(tmp_path, "ready"))), 30)
        assert sorted(noted(tmp_path, "ended")) == sorted(noted(tmp_path, "ready"))


def test_unblocking_restores_the_signals_of_this_process() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    unblock_signals()
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
