"""Content codings of request bodies: gzip, deflate, zstd and br, decoded within a limit."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping

from router.errors import CallerError
from router.formats.codings import codings_in
from router.gateway.http.errors import TooLargeError, UnsupportedCodingError

# The largest window that RFC 9659 lets a zstd body have.
_ZSTD_WINDOW_BYTES = 8 * 2**20
# Each member of gzip data, or frame of zstd, copies what follows it, so a body of many empty ones would take long.
_MAX_MEMBERS = 100
_GZIP_BITS, _ZLIB_BITS, _RAW_DEFLATE_BITS = 31, 15, -15


def decoded(raw: bytes, coding: str, max_bytes: int) -> bytes:
    """The body `raw` without the coding that its `Content-Encoding` states.

    The result is written in steps, so a small body that expands to a large one is rejected before it takes the memory.
    Raises TooLargeError where the result has more than `max_bytes`, UnsupportedCodingError for an unknown coding or
    several of them, CallerError for a body that is damaged or incomplete.
    """
    names = codings_in(coding)
    if not names:
        return raw
    name, *others = names
    decode = _DECODERS.get(name)
    if decode is None or others:
        raise UnsupportedCodingError(coding, ACCEPTED)
    body = decode(raw, max_bytes + 1)
    if body is None:
        raise CallerError(f"the body is not complete {name} data, as its Content-Encoding states")
    if len(body) > max_bytes:
        raise TooLargeError(max_bytes)
    return body


def _gzip(raw: bytes, limit: int) -> bytes | None:
    return _inflated(raw, limit, _GZIP_BITS)


def _deflate(raw: bytes, limit: int) -> bytes | None:
    # The standard means zlib's format; many clients send the bare stream.
    body = _inflated(raw, limit, _ZLIB_BITS)
    return _inflated(raw, limit, _RAW_DEFLATE_BITS) if body is None else body


def _inflated(raw: bytes, limit: int, bits: int) -> bytes | None:
    """At most `limit` bytes of `raw`, which may have several members; None where it is damaged."""
    members: list[bytes] = []
    size = 0
    try:
        for _ in range(_MAX_MEMBERS):
            member = zlib.decompressobj(bits)
            members.append(member.decompress(raw, limit - size))
            size += len(members[-1])
            if size < limit and not member.eof:
                return None
            raw = member.unused_data
            if not raw or size >= limit:
                return b"".join(members)
    except zlib.error:
        pass
    return None


def _zstd(raw: bytes, limit: int) -> bytes | None:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    source = io.BytesIO(raw)
    try:
        with decompressor.stream_reader(source, read_across_frames=True) as reader:
            body = reader.read(limit)
    except zstandard.ZstdError:
        return None
    return body if len(body) == limit or _ends_with_a_frame(raw) else None


def _ends_with_a_frame(raw: bytes) -> bool:
    """Whether the last frame is complete; `raw` has no other fault, and its content is known to be small."""
    import zstandard

    for _ in range(_MAX_MEMBERS):
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
        frame.decompress(raw)
        if not frame.eof:
            return False
        raw = frame.unused_data
        if not raw:
            return True
    return False


def _brotli(raw: bytes, limit: int) -> bytes | None:
    import brotli

    decompressor = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        parts.append(decompressor.process(raw, output_buffer_limit=limit))
        size = len(parts[0])
        while size < limit and not decompressor.is_finished():
            part = decompressor.process(b"", output_buffer_limit=limit - size)
            if not part:
                return None
            parts.append(part)
            size += len(part)
    except brotli.error:
        return None
    return b"".join(parts)


_DECODERS: Mapping[str, Callable[[bytes, int], bytes | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "br": _brotli,
}
ACCEPTED = ("gzip", "deflate", "zstd", "br")
"""The codings that a body may have."""
