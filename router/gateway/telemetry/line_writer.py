"""Writes lines to a file descriptor without ever waiting for its reader: a bounded queue, and a count of lost lines."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_QUEUED_LINES = 10_000
"""Lines queued while the reader does not read; further ones are dropped and counted."""

MAX_QUEUED_BYTES = 8 * 2**20
"""The size of the queued lines; further ones are dropped and counted."""

_POLL_MS = 1000
_PAUSE_S = 0.02


class LineWriter:
    """Writes to the descriptor `fd` from any thread; `fd` stays open and blocking for others.

    Lines that are there together are written together, up to as many bytes as a pipe takes in one piece. What cannot be
    written at once is queued, and a thread writes the queue while the reader reads. `dropped` counts the lines lost to
    a full queue, a full disk or a closed pipe.
    """

    def __init__(self, fd: int) -> None:
        self.dropped = 0
        self._send, self._poll = _non_blocking(fd)
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, *lines: bytes) -> None:
        """Write `lines`, which end with a line break, or queue them until the reader reads. Never raises."""
        with self._lock:
            for line in lines:
                if len(self._queue) >= MAX_QUEUED_LINES or self._queued_bytes + len(line) > MAX_QUEUED_BYTES:
                    self.dropped += 1
                    continue
                self._queue.append(line)
                self._queued_bytes += len(line)
            if self._thread is None and not self._write_queued():
                self._thread = threading.Thread(target=self._write_later, name="log", daemon=True)
                self._thread.start()

    def flush(self, timeout_s: float = 1.0) -> None:
        """Write the queued lines within `timeout_s`, and drop the rest."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._lock:
                if self._write_queued():
                    return
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    self.dropped += len(self._queue)
                    self._queue.clear()
                    self._queued_bytes = 0
                    return
            time.sleep(min(_PAUSE_S, left_s))

    def _write_later(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                self._poll.poll(_POLL_MS)
            with self._lock:
                if self._write_queued():
                    self._thread = None
                    return
            # A descriptor may be writable, but not for a whole line.
            time.sleep(_PAUSE_S)

    def _write_queued(self) -> bool:
        """Write from the queue. Return false where the descriptor would block. The caller has the lock."""
        while self._queue:
            piece, lines = self._first_lines()
            try:
                written = self._send(piece)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self.dropped += lines
                written = len(piece)
            self._queued_bytes -= written
            while written:
                line = self._queue.popleft()
                if len(line) > written:
                    self._queue.appendleft(line[written:])
                written -= min(len(line), written)
        return True

    def _first_lines(self) -> tuple[bytes, int]:
        """The lines at the beginning of the queue that a pipe takes in one piece, at least one, and how many they are.

        A longer piece could be taken apart, and mixed with the lines of others.
        """
        first = self._queue[0]
        if len(self._queue) == 1:
            return first, 1
        lines, size = [first], len(first)
        for line in itertools.islice(self._queue, 1, None):
            size += len(line)
            if size > select.PIPE_BUF:
                break
            lines.append(line)
        return b"".join(lines), len(lines)


def _non_blocking(fd: int) -> tuple[Callable[[bytes], int], select.poll]:
    """A function that writes to the file of `fd` or raises BlockingIOError, and a poll that waits until it can.

    The mode of `fd` itself is shared with other processes, such as a shell, so it must not change.
    """
    poll = select.poll()
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        # A closed descriptor: every write fails, and the line counts as dropped.
        return lambda line: os.write(fd, line), poll
    poll.register(fd, select.POLLOUT)
    if stat.S_ISSOCK(mode):
        # The journal of systemd. The flag holds for one write.
        return _Socket(os.dup(fd)).write, poll
    if not stat.S_ISFIFO(mode) and not stat.S_ISCHR(mode):
        return lambda line: os.write(fd, line), poll
    try:
        own_fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return lambda line: _write_if_writable(fd, line, poll), poll
    return _Descriptor(own_fd).write, poll


class _Descriptor:
    """A descriptor that is closed together with its writer."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, line: bytes) -> int:
        return os.write(self._fd, line)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)


class _Socket:
    """A socket that is closed together with its writer."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def write(self, line: bytes) -> int:
        return self._socket.send(line, socket.MSG_DONTWAIT)

    def __del__(self) -> None:
        self._socket.close()


def _write_if_writable(fd: int, line: bytes, poll: select.poll) -> int:
    if not poll.poll(0):
        raise BlockingIOError
    # A pipe that is writable has room for this much, unless another process is faster.
    return os.write(fd, line[: select.PIPE_BUF])
