"""Memory and descriptors of a process tree while an attack runs. Linux only (`/proc`)."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.gateway.processes import Server, tree

_PROC = Path("/proc")
_PAUSE_S = 0.05


class Use(msgspec.Struct):
    """The highest resident memory, and the most open files of one process with its limit."""

    rss_mb: float = 0.0
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


@contextlib.contextmanager
def watching(server: Server) -> Iterator[Use]:
    """The highest use while the block runs."""
    use, stop = Use(), threading.Event()

    def sample() -> None:
        while not stop.wait(_PAUSE_S):
            use.rss_mb = max(use.rss_mb, server.rss_mb())
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
