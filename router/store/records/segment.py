"""A file of the journal. Whoever writes it holds its lock, so a segment that can be locked was left by the dead."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock; there one gateway at a time uses a folder.
    fcntl = None  # type: ignore[assignment]

_SUFFIX = ".jsonl"


class Segment:
    """An open, locked file of lines. `size` is in bytes."""

    def __init__(self, file: Path, descriptor: int, size: int) -> None:
        self.file, self._descriptor, self.size = file, descriptor, size

    @classmethod
    def create(cls, folder: Path) -> Segment:
        """A new, empty one. Raises OSError."""
        while True:
            file = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
            # Nobody else's business: prompts may stand in it.
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if _own(file, descriptor):
                return cls(file, descriptor, 0)
            # Somebody took it for a dead process's before it was locked.
            os.close(descriptor)

    @classmethod
    def claim(cls, file: Path) -> Segment | None:
        """The segment in `file`, unless a living process has it or it is another user's. Raises OSError."""
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            return None
        if _own(file, descriptor):
            return cls(file, descriptor, os.fstat(descriptor).st_size)
        os.close(descriptor)
        return None

    def append(self, line: bytes) -> None:
        """Write one line. It outlives this process from here on. Raises OSError, and then nothing is written."""
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:] if written else line)
        except OSError:
            if written:
                # The rest of a torn line would swallow the next one.
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(line)

    def lines(self) -> Iterator[bytes]:
        """Its lines, the last one perhaps torn. They can be read even where somebody has deleted the file."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            yield from stream

    def delete(self) -> None:
        """Delete the file, and let go of it."""
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()
        os.close(self._descriptor)

    def release(self) -> None:
        """Leave the file to whoever claims it."""
        os.close(self._descriptor)


def segment_files(folder: Path) -> list[Path]:
    """Every segment in `folder`, of living processes and dead ones. Raises OSError."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _own(file: Path, descriptor: int) -> bool:
    """Lock the open file, unless another process has it or has deleted it meanwhile."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
