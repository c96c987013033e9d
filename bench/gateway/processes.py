"""Servers in processes of their own: started, counted and ended with all their children. Linux only (`/proc`)."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TERM", "USER")
_PATIENCE_S = 10


class StartError(Exception):
    """A server did not start; says what it said last."""


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Server:
    """A process and its children: where it listens, and what it took to get ready."""

    def __init__(self, pid: int, port: int, ready_s: float) -> None:
        self.pid, self.port, self.ready_s = pid, port, ready_s
        self.cpu_at_ready_s = self.cpu_s()
        self.rss_at_ready_mb = self.rss_mb()

    def cpu_s(self) -> float:
        """Seconds of CPU that it has taken, in user and kernel, children and threads included."""
        ticks = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                # The name, which may hold spaces, ends with the last bracket; times begin 11 fields after it.
                fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
                # User and system time, and those of children that have ended.
                ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS_A_SECOND

    def rss_mb(self) -> float:
        """Resident memory of all its processes, pages that they share counted in each."""
        return self._memory_kib("status", "VmRSS:") * 1024 / 1e6

    def pss_mb(self) -> float:
        """Resident memory of all its processes, shared pages in equal parts to those who share them."""
        return self._memory_kib("smaps_rollup", "Pss:") * 1024 / 1e6

    def _memory_kib(self, file: str, name: str) -> int:
        total = 0
        for pid in _tree(self.pid):
            with contextlib.suppress(OSError):
                lines = (_PROC / str(pid) / file).read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith(name))
        return total


def _tree(root: int) -> list[int]:
    found, children = [], [root]
    while children:
        pid = children.pop()
        found.append(pid)
        for tasks in (_PROC / str(pid) / "task").glob("*/children"):
            with contextlib.suppress(OSError):
                children += map(int, tasks.read_text().split())
    return found


class Start(msgspec.Struct, frozen=True):
    """How a server is started.

    It runs in `folder`. `port`: where it listens; where it chooses by itself, the file in which it writes the number.
    `ready`: it is ready when a GET of the first of these paths that it has answers 200; without any, when it listens.
    """

    command: tuple[str, ...]
    folder: Path
    port: int | Path
    ready: tuple[str, ...]
    environment: dict[str, str] = {}
    limit_s: float = 90.0


@contextlib.contextmanager
def running(start: Start, log: Path, cores: frozenset[int] = frozenset()) -> Iterator[Server]:
    """Run it until the block ends, then end it and all its children. It is kept on `cores`, where any are given.

    Raises StartError where it ends by itself or is not ready in time.
    """
    pinned = ("taskset", "--cpu-list", ",".join(map(str, sorted(cores)))) if cores else ()
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            (*pinned, *start.command),
            env=_environment() | start.environment,
            cwd=start.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while (port := _ready_port(start)) is None:
            if process.poll() is not None:
                raise StartError(f"it ended by itself: {_last_words(log)}")
            if time.perf_counter() > began + start.limit_s:
                raise StartError(f"it was not ready after {start.limit_s:.0f} s: {_last_words(log)}")
            time.sleep(0.01)
        yield Server(process.pid, port, time.perf_counter() - began)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole session: SIGTERM, and SIGKILL to what has not ended in time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)


def _ready_port(start: Start) -> int | None:
    port = _stated_port(start.port) if isinstance(start.port, Path) else start.port
    if port is None:
        return None
    if not start.ready:
        return port if _status(port, "/") else None
    for path in start.ready:
        status = _status(port, path)
        if status != http.client.NOT_FOUND:
            return port if status == http.client.OK else None
    return None


def _stated_port(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _environment() -> dict[str, str]:
    """This process's without proxies, keys and settings, which would make one run unlike another."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " ".join(lines[-1:])[-300:] or "it said nothing"
