"""The control of `shim.c`: which call of a running process fails, with what, and how many were made."""

from __future__ import annotations

import enum
import errno
import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_MASK, _FIRST, _TIMES, _ERROR, _SHORT, _FAILED, _SEEN, _WORDS = 0, 1, 2, 3, 4, 5, 8, 32


class Operation(enum.IntEnum):
    """What may fail in the files of the folder; CONNECT fails everywhere; LOG writes to standard output or error."""

    OPEN = 0
    READ = 1
    WRITE = 2
    SYNC = 3
    RENAME = 4
    UNLINK = 5
    TRUNCATE = 6
    CONNECT = 7
    LOG = 8


LIKELY_ERRORS: dict[Operation, tuple[int, ...]] = {
    Operation.OPEN: (errno.EMFILE, errno.ENOSPC, errno.EACCES, errno.EIO),
    Operation.READ: (errno.EIO,),
    Operation.WRITE: (errno.ENOSPC, errno.EIO),
    Operation.SYNC: (errno.EIO, errno.ENOSPC),
    Operation.RENAME: (errno.EACCES, errno.ENOSPC),
    Operation.UNLINK: (errno.EACCES, errno.EIO),
    Operation.TRUNCATE: (errno.EIO, errno.ENOSPC),
    Operation.CONNECT: (errno.EMFILE, errno.EACCES),
    Operation.LOG: (errno.ENOSPC, errno.EIO),
}
DISK = (Operation.OPEN, Operation.WRITE, Operation.SYNC, Operation.RENAME, Operation.TRUNCATE)
"""What fails together where a disk is full."""


def build(folder: Path) -> Path | None:
    """The compiled library; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


class Shim:
    """Controls the processes that run with `environment`; `folder` is where files fail."""

    def __init__(self, library: Path, folder: Path, control: Path) -> None:
        control.write_bytes(bytes(8 * _WORDS))
        with control.open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 8 * _WORDS)
        self.environment = {
            "LD_PRELOAD": str(library),
            "SHIM_FOLDER": str(folder),
            "SHIM_CONTROL": str(control),
        }

    def arm(
        self, operations: Iterable[Operation], first: int, error: int, times: int = 1, *, short: bool = False
    ) -> None:
        """From now on, the `first` call (from 1) of these and `times - 1` after it fail with `error`; -1: all after it.

        With `short`, the first of them, if it is a write, writes half of its bytes and reports that.
        """
        self.disarm()
        for word, value in ((_FIRST, first), (_TIMES, times), (_ERROR, error), (_SHORT, int(short)), (_FAILED, 0)):
            self._set(word, value)
        self._set(_MASK, sum(1 << operation for operation in operations))

    def disarm(self) -> None:
        """No call fails from now on."""
        self._set(_MASK, 0)

    @property
    def failed(self) -> int:
        """How many calls have failed, or were short, since it was armed."""
        return self._get(_FAILED)

    def seen(self, operation: Operation) -> int:
        """How many calls were made since the start."""
        return self._get(_SEEN + operation)

    def _get(self, word: int) -> int:
        return int(struct.unpack_from("<q", self._words, 8 * word)[0])

    def _set(self, word: int, value: int) -> None:
        struct.pack_into("<q", self._words, 8 * word, value)
