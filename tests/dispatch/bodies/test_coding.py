"""Content codings of responses."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from router.dispatch.bodies.coding import CodingError
from router.dispatch.bodies.reader import BodyReader

TEXT = b'{"text": "' + bytes(range(97, 123)) * 500 + b'"}'


def bare_deflate(text: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(text) + compressor.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "upper case": ("GZIP", gzip.compress),
    "members": ("gzip", lambda text: gzip.compress(text[:10]) + gzip.compress(text[10:])),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "frames": ("zstd", lambda text: zstandard.compress(text[:10]) + zstandard.compress(text[10:])),
    "two": ("gzip, br", lambda text: brotli.compress(gzip.compress(text))),
    "identity": ("identity", bytes),
    "none": ("", bytes),
    "a character encoding": ("utf-8", bytes),
    "gzip that is not stated": ("", gzip.compress),
    "zstd that is not stated": ("", zstandard.compress),
}


def read(body: bytes, coding: str, size: int) -> bytes:
    """The whole decoded body, whose parts of `size` bytes arrive one after another."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    async def next_piece() -> bytes:
        return pieces.pop(0) if pieces else b""

    async def main() -> bytes:
        reader = BodyReader(next_piece, coding)
        await reader.kind()
        parts = []
        while part := await reader.read():
            parts.append(part)
        return b"".join(parts)

    return asyncio.run(main())


@pytest.mark.parametrize("size", [4, 7, 100_000])
@pytest.mark.parametrize(("coding", "encode"), CODINGS.values(), ids=CODINGS)
def test_a_body_is_decoded(coding: str, encode: Callable[[bytes], bytes], size: int) -> None:
    assert read(encode(TEXT), coding, size) == TEXT


@given(st.binary(min_size=1), st.sampled_from(sorted(CODINGS)), st.integers(min_value=4, max_value=64))
def test_no_byte_is_lost(text: bytes, name: str, size: int) -> None:
    coding, encode = CODINGS[name]
    text = b"{" + text
    assert read(encode(text), coding, size) == text


def test_a_part_is_decoded_as_soon_as_it_arrives() -> None:
    compressor = zlib.compressobj(wbits=31)
    begun = compressor.compress(b"data: 1\n\n") + compressor.flush(zlib.Z_SYNC_FLUSH)

    async def next_piece() -> bytes:
        return begun

    async def main() -> bytes:
        return await BodyReader(next_piece, "gzip").read()

    assert asyncio.run(main()) == b"data: 1\n\n"


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstandard.compress)],
    ids=["gzip", "br", "zstd"],
)
def test_a_body_that_expands_to_a_large_one_arrives_in_parts(coding: str, encode: Callable[[bytes], bytes]) -> None:
    pieces = [encode(b"{" * 100_000_000)]

    async def next_piece() -> bytes:
        return pieces.pop(0) if pieces else b""

    async def main() -> int:
        reader, largest, size = BodyReader(next_piece, coding), 0, 0
        while part := await reader.read():
            largest, size = max(largest, len(part)), size + len(part)
        assert size == 100_000_000
        return largest

    # A part of zstd's has the content of all blocks that begin in 1 KiB.
    assert asyncio.run(main()) <= 48 * 1024 * 1024


@pytest.mark.parametrize("coding", ["compress", "gzip, exotic"])
def test_an_unknown_coding_is_named(coding: str) -> None:
    with pytest.raises(CodingError, match=coding.rsplit(maxsplit=1)[-1]):
        read(TEXT, coding, 100)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_damaged_body_is_an_error(coding: str) -> None:
    with pytest.raises(CodingError, match="damaged"):
        read(b"\x88\xff" * 5000, coding, 1000)
