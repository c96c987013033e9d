"""Pipes whose reader does not read."""

from __future__ import annotations

import os
import select

Pipe = tuple[int, int]


def fill(fd: int) -> None:
    """Write to a pipe until it is full."""
    os.set_blocking(fd, False)
    try:
        while True:
            os.write(fd, b" " * 4096)
    except BlockingIOError:
        os.set_blocking(fd, True)


def text_in(fd: int) -> str:
    """The text in the pipe now."""
    data = b""
    while select.select([fd], [], [], 0)[0] and (more := os.read(fd, 1 << 20)):
        data += more
    return data.decode()
