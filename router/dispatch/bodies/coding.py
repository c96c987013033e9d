"""Content codings of responses, decoded as they arrive.

The gateway asks for none, but some servers and proxies compress all the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from router.formats.codings import codings_in

# A small body may expand to a large one; it is decoded in parts, so that the reader can stop.
_PART_BYTES = 1024 * 1024
_ZSTD_PIECE_BYTES = 1024
_GZIP_BITS, _ZLIB_BITS, _RAW_DEFLATE_BITS = 31, 15, -15
_ZLIB_METHOD = 8


class CodingError(ValueError):
    """A coding that cannot be decoded here, or a body that is damaged."""


class Decoder(Protocol):
    """Decodes one coding."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The bytes that `piece` decodes to, in parts. Raises CodingError."""


class _Zlib:
    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._decoder: Any = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        try:
            while piece:
                if self._decoder is None:
                    self._decoder = zlib.decompressobj(self._bits_of(piece))
                part = self._decoder.decompress(piece, _PART_BYTES)
                while part:
                    yield part
                    part = self._decoder.decompress(self._decoder.unconsumed_tail, _PART_BYTES)
                piece = self._decoder.unused_data
                if self._decoder.eof:
                    self._decoder = None
        except zlib.error as error:
            raise CodingError(f"the compressed body is damaged: {error}") from None

    def _bits_of(self, piece: bytes) -> int:
        # The standard means zlib's format by "deflate"; some servers send the bare stream.
        is_bare = self._bits == _ZLIB_BITS and piece[0] & 0xF != _ZLIB_METHOD
        return _RAW_DEFLATE_BITS if is_bare else self._bits


class _Brotli:
    def __init__(self) -> None:
        import brotli

        self._error, self._decoder = brotli.error, brotli.Decompressor()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        try:
            while part := self._decoder.process(piece, output_buffer_limit=_PART_BYTES):
                yield part
                piece = b""
        except self._error as error:
            raise CodingError(f"the compressed body is damaged: {error}") from None


class _Zstandard:
    def __init__(self) -> None:
        import zstandard

        self._error, self._new = zstandard.ZstdError, zstandard.ZstdDecompressor().decompressobj
        self._decoder = self._new()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        try:
            for start in range(0, len(piece), _ZSTD_PIECE_BYTES):
                left = piece[start : start + _ZSTD_PIECE_BYTES]
                while left:
                    if self._decoder.eof:
                        self._decoder = self._new()
                    if part := self._decoder.decompress(left):
                        yield part
                    left = self._decoder.unused_data
        except self._error as error:
            raise CodingError(f"the compressed body is damaged: {error}") from None


_DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(_GZIP_BITS),
    "x-gzip": lambda: _Zlib(_GZIP_BITS),
    "deflate": lambda: _Zlib(_ZLIB_BITS),
    "br": _Brotli,
    "zstd": _Zstandard,
}


def decoders_of(content_encoding: str) -> list[Decoder]:
    """The decoders of a `Content-Encoding`, in the order in which to use them. Raises CodingError."""
    decoders: list[Decoder] = []
    for coding in reversed(codings_in(content_encoding)):
        if coding not in _DECODERS:
            raise CodingError(f'it has the content coding "{coding[:40]}", which cannot be decoded here')
        try:
            decoders.append(_DECODERS[coding]())
        except ImportError as error:
            raise CodingError(f'it has the content coding "{coding}", which needs the package {error.name}') from None
    return decoders
