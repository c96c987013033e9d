"""Files that were parsed before, by their content: the command line reads the same cards at every start."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import msgspec

KeyPath = tuple[str | int, ...]
"""The keys and list positions that lead to a value: `("keys", 0, "id")`."""

Parsed = tuple[Any, dict[KeyPath, int]]
"""A document, and the line of every key and list item."""

_RULES = b"2"
"""Changes with the rules of `router.formats.yaml.document`: what was parsed by others is parsed again."""

_MOST_BYTES = 32_000_000
"""Some ten thousand cards. A folder that needs more is parsed in part at each start."""
_MOST_OTHERS = 1000
"""Files that this process has not read: those of other folders, and earlier states of edited cards."""
_PRIVATE = stat.S_IRUSR | stat.S_IWUSR
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class ParsedFiles:
    """What files contain, by the SHA-256 of their bytes; what cannot be read is parsed again.

    Only what nobody else can have written is believed: it decides where prompts and API keys are sent.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._is_new = file, False
        self._used: set[str] = set()
        try:
            self._known = msgspec.msgpack.decode(_own_bytes(file), type=dict[str, msgspec.Raw])
        except (OSError, msgspec.DecodeError):
            self._known = {}

    def get_or(self, raw: bytes, parse: Callable[[], Parsed]) -> Parsed:
        """What the bytes of a file contain; `parse` is called where that is not known."""
        key = hashlib.sha256(_RULES + raw).hexdigest()
        self._used.add(key)
        if (found := self._known.pop(key, None)) is not None:
            # What is used last is kept longest.
            self._known[key] = found
            try:
                document, lines = msgspec.msgpack.decode(found, type=tuple[Any, list[tuple[KeyPath, int]]])
                return document, dict(lines)
            except msgspec.DecodeError:
                pass
        document, of_paths = parse()
        # A number may be greater than the format can hold.
        with contextlib.suppress(OverflowError, msgspec.MsgspecError):
            self._known[key] = msgspec.Raw(msgspec.msgpack.encode((document, list(of_paths.items()))))
            self._is_new = True
        return document, of_paths

    def save(self) -> None:
        """Write what is new. A folder that cannot be written is no error: the files are parsed again next time."""
        if not self._is_new:
            return
        size, others, newest = 0, 0, []
        for key, content in reversed(self._known.items()):
            others += key not in self._used
            length = len(memoryview(content))
            if size + length <= _MOST_BYTES and (key in self._used or others <= _MOST_OTHERS):
                size += length
                newest.append((key, content))
        own = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            own.unlink(missing_ok=True)
            with open(own, "xb", opener=lambda path, flags: os.open(path, flags, _PRIVATE)) as file:
                file.write(msgspec.msgpack.encode(dict(reversed(newest))))
            own.replace(self._file)


def _own_bytes(file: Path) -> bytes:
    """The content of a file that belongs to this user, and that no other user can write. Raises OSError."""
    with file.open("rb") as opened:
        state = os.fstat(opened.fileno())
        if hasattr(os, "geteuid") and (state.st_uid != os.geteuid() or state.st_mode & _WRITTEN_BY_OTHERS):
            raise PermissionError(f"{file}: another user can write it")
        return opened.read()


PARSED: ContextVar[ParsedFiles | None] = ContextVar("PARSED", default=None)


@contextlib.contextmanager
def remembered(file: Path) -> Iterator[None]:
    """In this context, YAML is parsed only where `file` does not have it yet from an earlier process."""
    known = ParsedFiles(file)
    token = PARSED.set(known)
    try:
        yield
    finally:
        PARSED.reset(token)
        known.save()
