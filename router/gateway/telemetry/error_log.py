"""The error log: what the gateway and its libraries log, warn of or print, through writers that never block."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from router.gateway.telemetry.line_writer import LineWriter

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
# Lines of one place in the code: a burst, then so many a second.
_BURST, _PER_S = 40.0, 4.0
_MAX_PLACES = 1024
_MAX_CHARACTERS = 16_000
# What could forge a line, or control a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Writers:
    """The writers of standard output and standard error: one, where both are the same file."""

    def __init__(self, output_fd: int = _STANDARD_OUTPUT, error_fd: int = _STANDARD_ERROR) -> None:
        self.output = LineWriter(output_fd)
        self.error = self.output if _is_same_file(output_fd, error_fd) else LineWriter(error_fd)
        self.handler = LimitedHandler(self.error)

    @property
    def errors_dropped(self) -> int:
        """The lines of the error log that were not written. One file for both logs counts for the access log."""
        return self.handler.left_out + (0 if self.error is self.output else self.error.dropped)

    def flush(self) -> None:
        """Write what is queued, for at most a second."""
        self.error.flush()
        self.output.flush()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Let `logging`, `warnings` and `print` write here for the duration of the block."""
        root, streams = logging.getLogger(), (sys.stdout, sys.stderr)
        handlers = root.handlers[:]
        root.handlers[:] = [self.handler]
        logging.captureWarnings(True)
        sys.stdout, sys.stderr = _Lines(self.output, streams[0]), _Lines(self.error, streams[1])
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            logging.captureWarnings(False)
            root.handlers[:] = handlers
            self.flush()


class LimitedHandler(logging.Handler):
    """Writes log records as lines. `left_out` counts those of a place in the code that logs too often."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.left_out = 0
        self._writer = writer
        self._places: dict[tuple[str, int], _Bucket] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless its place has logged too much lately."""
        place = record.pathname, record.lineno
        bucket = self._places.get(place)
        if bucket is None:
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            bucket = self._places[place] = _Bucket()
        if not bucket.take():
            self.left_out += 1
            return
        try:
            text = _text(record)
        # A mistake in a log call must not fail the request.
        except (TypeError, ValueError, LookupError, AttributeError):
            text = f"a log message cannot be formatted: {record.pathname}:{record.lineno}"
        if bucket.left_out:
            text += f" ({bucket.left_out} lines like this one were left out before it)"
            bucket.left_out = 0
        self._writer.write(f"{text}\n".encode("utf-8", "backslashreplace"))


class _Bucket:
    """A token bucket."""

    def __init__(self) -> None:
        self.left_out = 0
        self._tokens, self._at = _BURST, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._at) * _PER_S, _BURST)
        self._at = now
        if self._tokens < 1:
            self.left_out += 1
            return False
        self._tokens -= 1
        return True


class _Lines(io.TextIOBase):
    """A text stream whose lines go to a writer, in place of `original`."""

    encoding, errors = "utf-8", "backslashreplace"

    def __init__(self, writer: LineWriter, original: TextIO | None) -> None:
        self._writer, self._original, self._begun = writer, original, ""

    def write(self, text: str) -> int:
        """Write whole lines; the rest waits for its line break or `flush`."""
        if not isinstance(text, str):
            raise TypeError(f"a text, not {type(text).__name__}")
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._write(line + "\n")
        if len(self._begun) > _MAX_CHARACTERS:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what has no line break yet. Does not wait for the reader."""
        begun, self._begun = self._begun, ""
        if begun:
            self._write(begun)

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether the original stream is a terminal."""
        return self._original is not None and self._original.isatty()

    def fileno(self) -> int:
        """The descriptor of the original stream."""
        if self._original is None:
            raise io.UnsupportedOperation("fileno")
        return self._original.fileno()

    def _write(self, text: str) -> None:
        self._writer.write(text.encode("utf-8", "backslashreplace"))


def _text(record: logging.LogRecord) -> str:
    """The message on one line; a traceback follows on lines of its own, indented."""
    text = _CONTROL.sub(_escaped, record.getMessage()[:_MAX_CHARACTERS])
    if record.exc_info and record.exc_info[0] is not None:
        trace = logging.Formatter().formatException(record.exc_info)
        # The end names the error.
        lines = trace[-_MAX_CHARACTERS:].splitlines()
        text += "".join(f"\n  {_CONTROL.sub(_escaped, line)}" for line in lines)
    return text


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _is_same_file(first: int, second: int) -> bool:
    try:
        return os.path.samestat(os.fstat(first), os.fstat(second))
    except OSError:
        return False
