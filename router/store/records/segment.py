"""A file of the journal. Its writer holds a lock on it; if the lock is free, that process has exited."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from router.formats.files import lock

_SUFFIX = ".jsonl"


class Segment:
    """An open, locked file of lines. `size` is in bytes."""

    def __init__(self, file: Path, descriptor: int, size: int) -> None:
        self.file, self._descriptor, self.size = file, descriptor, size
        # Whether the file ends with a part of a line that could neither be completed nor removed.
        self._is_torn = False

    @classmethod
    def create(cls, folder: Path) -> Segment:
        """Create an empty segment in `folder`. Raises OSError."""
        while True:
            file = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
            # Only the owner may read it: it may contain prompts.
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if _lock(file, descriptor):
                return cls(file, descriptor, 0)
            # Another process claimed it before it was locked.
            os.close(descriptor)

    @classmethod
    def claim(cls, file: Path) -> Segment | None:
        """Open the segment in `file`; None if a running process or another user owns it. Raises OSError."""
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            return None
        if _lock(file, descriptor):
            return cls(file, descriptor, os.fstat(descriptor).st_size)
        os.close(descriptor)
        return None

    def append(self, line: bytes) -> None:
        """Write one line, which then survives this process. Raises OSError, and then nothing is written."""
        written = 0
        if self._is_torn:
            # The part becomes a line of its own, which readers skip.
            line = b"\n" + line
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:] if written else line)
        except OSError:
            if written:
                # The next line would be joined to the rest of a truncated one.
                self._remove_part()
            raise
        self._is_torn = False
        self.size += len(line)

    def _remove_part(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            self._is_torn = True
            self.size = os.fstat(self._descriptor).st_size

    def lines(self) -> Iterator[bytes]:
        """The lines; the last one may be truncated. They can be read even if the file has been deleted."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._descriptor), "rb") as stream:
            yield from stream

    def delete(self) -> None:
        """Delete and close the file."""
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()
        os.close(self._descriptor)

    def release(self) -> None:
        """Close the file, so that another process can claim it."""
        os.close(self._descriptor)


def segment_files(folder: Path) -> list[Path]:
    """Every segment in `folder`, whether its process is running or not. Raises OSError."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _lock(file: Path, descriptor: int) -> bool:
    """Lock the open file. Returns False if another process holds the lock or has deleted the file."""
    try:
        return lock(descriptor) and file.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
