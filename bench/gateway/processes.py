"""Servers in separate processes: started, measured and ended with all their children. Linux only (`/proc`)."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

_PROC = Path("/proc")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TERM", "USER")
_EXIT_TIMEOUT_S = 10


class StartError(Exception):
    """A server did not start; the message has the last line of its log."""


def free_port() -> int:
    """A loopback port on which no process listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Server:
    """A process and its children: its port, and the time, CPU and memory until it was ready."""

    def __init__(self, pid: int, port: int, ready_s: float) -> None:
        self.pid, self.port, self.ready_s = pid, port, ready_s
        self.cpu_at_ready_s = self.cpu_s()
        self.rss_at_ready_mb = self.rss_mb()

    def cpu_s(self) -> float:
        """CPU time in seconds, user and system, including children and threads."""
        ticks = 0
        for pid in tree(self.pid):
            with contextlib.suppress(OSError):
                # The process name may contain spaces and ends with the last bracket; times begin 11 fields after it.
                fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
                # User and system time, and those of children that have ended.
                ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS_A_SECOND

    def rss_mb(self) -> float:
        """Resident memory of all its processes; shared pages count in every process."""
        return self._memory_kib("status", "VmRSS:") * 1024 / 1e6

    def pss_mb(self) -> float:
        """Resident memory of all its processes; a shared page is divided among them."""
        return self._memory_kib("smaps_rollup", "Pss:") * 1024 / 1e6

    def _memory_kib(self, file: str, name: str) -> int:
        total = 0
        for pid in tree(self.pid):
            with contextlib.suppress(OSError):
                lines = (_PROC / str(pid) / file).read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith(name))
        return total


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    pids, children = [], [root]
    while children:
        pid = children.pop()
        pids.append(pid)
        # It may have ended meanwhile.
        with contextlib.suppress(OSError):
            for thread in (_PROC / str(pid) / "task").iterdir():
                with contextlib.suppress(OSError):
                    children += map(int, (thread / "children").read_text().split())
    return pids


class Process(Protocol):
    """What is asked of a process that was started, which is the leader of a session; as `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code once it has ended."""

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""


class Start(msgspec.Struct, frozen=True):
    """How a server is started.

    It runs in `folder`. `port` is the port, or the file into which the server writes the port that it chose. By `ready`
    the server is ready when a GET of the first of these paths that exists returns 200; without paths, when it listens.
    `launch` starts the process in place of `subprocess.Popen`, with this environment and its output in this file.
    """

    command: tuple[str, ...]
    folder: Path
    port: int | Path
    ready: tuple[str, ...]
    environment: dict[str, str] = {}
    limit_s: float = 90.0
    launch: Callable[[Start, dict[str, str], BinaryIO], Process] | None = None


def unchanged(start: Start) -> Start:
    """The start as it is, for callers that take a function which may change how a server is started."""
    return start


def launched(start: Start, environment: dict[str, str], output: BinaryIO, prefix: tuple[str, ...] = ()) -> Process:
    """Start the process with exactly this environment, its output in this file; it may not be ready for long.

    `prefix` is in front of a command that is not launched in another way.
    """
    if start.launch:
        return start.launch(start, environment, output)
    return subprocess.Popen(
        (*prefix, *start.command),
        env=environment,
        cwd=start.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


@contextlib.contextmanager
def running(start: Start, log: Path, cores: frozenset[int] = frozenset()) -> Iterator[Server]:
    """Run the server until the block ends, then end it and all its children. It is pinned to `cores`, if any.

    Raises StartError if it exits or is not ready in time.
    """
    assert not (cores and start.launch), "only a command can be pinned"
    pinned = ("taskset", "--cpu-list", ",".join(map(str, sorted(cores)))) if cores else ()
    started = time.perf_counter()
    environment = bare_environment() | start.environment
    with log.open("wb") as output:
        process = launched(start, environment, output, pinned)
    try:
        while (port := _ready_port(start)) is None:
            if process.poll() is not None:
                raise StartError(f"the server exited: {_last_log_line(log)}")
            if time.perf_counter() > started + start.limit_s:
                raise StartError(f"the server was not ready after {start.limit_s:.0f} s: {_last_log_line(log)}")
            time.sleep(0.01)
        yield Server(process.pid, port, time.perf_counter() - started)
    finally:
        _end(process)


def _end(process: Process) -> None:
    """Send SIGTERM to the whole session, then SIGKILL to processes that have not exited in time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_TIMEOUT_S)


def _ready_port(start: Start) -> int | None:
    port = _port_in(start.port) if isinstance(start.port, Path) else start.port
    if port is None:
        return None
    if not start.ready:
        return port if _status(port, "/") else None
    for path in start.ready:
        status = _status(port, path)
        if status != http.client.NOT_FOUND:
            return port if status == http.client.OK else None
    return None


def _port_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def bare_environment() -> dict[str, str]:
    """This environment without proxies, keys and settings, so that runs are comparable."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _last_log_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " ".join(lines[-1:])[-300:] or "its log is empty"
