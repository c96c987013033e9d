"""A file to which one process at a time appends what must not be lost."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from router.errors import CallerError, ConfigurationError
from router.formats.files import lock


class AppendedFile:
    """The file, open for appending and locked for other processes, until the end of the block; removed where empty.

    `user` is who writes it, for the error where another one does. Raises CallerError then, and ConfigurationError where
    the file cannot be written.
    """

    def __init__(self, file: Path, user: str) -> None:
        self.file = file
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._stream: IO[bytes] = file.open("ab")
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None
        if not lock(self._stream.fileno()):
            self._stream.close()
            raise CallerError(f"{file}: another {user} is running")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if self.file.exists() and self.file.stat().st_size == 0:
            self.file.unlink()

    def _append(self, content: bytes) -> None:
        """Append, which is on the disk on return."""
        self._stream.write(content)
        self._stream.flush()
        os.fsync(self._stream.fileno())
