"""The names of content codings in `Content-Encoding`, and the first bytes of compressed data."""

from __future__ import annotations

from collections.abc import Mapping

# Some clients and servers state their character encoding here.
_NONE = frozenset({"", "identity", "none", "utf-8"})
# No text begins with these bytes.
_MAGIC: Mapping[bytes, str] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MAGICS = tuple(_MAGIC)


def codings_in(content_encoding: str) -> list[str]:
    """The codings in lower case, in the order in which they were applied; without those that change nothing."""
    names = (name.strip().lower() for name in content_encoding.split(","))
    return [name for name in names if name not in _NONE]


def coding_that_begins(head: bytes) -> str:
    """The coding of a body that begins with `head` and states none; empty where it is not compressed."""
    if not head.startswith(_MAGICS):
        return ""
    return next((coding for magic, coding in _MAGIC.items() if head.startswith(magic)), "")
