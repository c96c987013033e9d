"""Files that several processes share: replaced in one step, locked while they are used."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock; there, only one process at a time may use a file.
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A new file beside `file` to write to, which takes its place at the end of the block.

    Readers see the old content or the new, never a part. Where the block raises, the old file stays. Raises OSError.
    """
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def replace_file(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `file` in one step, with the owner and mode of the old one. The new content is on the disk on return.

    `mode` is that of a new file, less the process's umask. Raises OSError, and then the old file is as it was.
    """
    with replacing(file) as part, os.fdopen(_new_file(part, mode), "wb") as stream:
        stream.write(content)
        if file.exists():
            status = file.stat()
            part.chmod(status.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):
                os.chown(part, status.st_uid, status.st_gid)
        stream.flush()
        os.fsync(stream.fileno())


def _new_file(file: Path, mode: int) -> int:
    return os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)


def lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file for this process until it is closed. False where another process holds the lock.

    With `wait`, wait until the lock is free. Without support by the system, nothing is locked.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
