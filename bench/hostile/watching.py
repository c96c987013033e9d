"""Memory and descriptors of a process tree while an attack runs. Linux only (`/proc`)."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.gateway.processes import Server, tree

_PROC = Path("/proc")
_PAUSE_S = 0.05
# To add up the pages of a process takes the kernel milliseconds, in which that process gets no new ones.
_MEMORY_EVERY = 5
_STEADY_MB, _AT_MOST_S = 2.0, 20.0


class Use(msgspec.Struct):
    """The highest resident memory, in which a page that several processes share counts once, and the most open files of
    one process with its limit.
    """

    pss_mb: float = 0.0
    files: int = 0
    files_limit: int = 0


def open_files(pid: int) -> int:
    """How many descriptors a process has; 0 if it has ended."""
    with contextlib.suppress(OSError):
        return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())
    return 0


def most_files(server: Server) -> tuple[int, int]:
    """The open files of the process that has the most, and its limit."""
    files, pid = max((open_files(pid), pid) for pid in tree(server.pid))
    with contextlib.suppress(OSError):
        limits = (_PROC / str(pid) / "limits").read_text()
        if match := re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE):
            return files, int(match[1])
    return files, 0


def steady_mb(server: Server, pause_s: float = 1.0) -> float:
    """The memory once it stays as it is for `pause_s`: the workers after the first one, and a library that is loaded
    ahead of requests, come while the first worker serves already.
    """
    ends_s, memory_mb = time.monotonic() + _AT_MOST_S, server.pss_mb()
    while True:
        time.sleep(pause_s)
        before_mb, memory_mb = memory_mb, server.pss_mb()
        if abs(memory_mb - before_mb) < _STEADY_MB or time.monotonic() > ends_s:
            return memory_mb


@contextlib.contextmanager
def watching(server: Server) -> Iterator[Use]:
    """The highest use while the block runs."""
    use, stop = Use(), threading.Event()

    def sample() -> None:
        for number in itertools.count():
            if stop.wait(_PAUSE_S):
                return
            if number % _MEMORY_EVERY == 0:
                use.pss_mb = max(use.pss_mb, server.pss_mb())
            files, limit = most_files(server)
            if files >= use.files:
                use.files, use.files_limit = files, limit

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield use
    finally:
        stop.set()
        thread.join()
