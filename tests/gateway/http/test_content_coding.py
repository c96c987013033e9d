"""Content codings of request bodies, at the function and at the gateway."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from router.errors import CallerError
from router.gateway.http.content_coding import ACCEPTED, decoded
from router.gateway.http.errors import TooLargeError, UnsupportedCodingError, error_response

BODY = b'{"model": "dear", "messages": [{"role": "user", "content": "hi"}]}'


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip in capitals": ("GZIP", gzip.compress),
    "gzip of two members": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd of two frames": ("zstd", lambda body: zstandard.compress(body[:9]) + zstandard.compress(body[9:])),
    "br": ("br", brotli.compress),
    "identity": ("identity", bytes),
    "a character encoding": ("utf-8", bytes),
    "gzip and identity": ("gzip, identity", gzip.compress),
}


@pytest.mark.parametrize("name", ENCODERS)
@given(body=st.binary(min_size=1, max_size=3000))
def test_a_body_is_decoded_to_what_was_encoded(name: str, body: bytes) -> None:
    coding, encode = ENCODERS[name]
    assert decoded(encode(body), coding, len(body)) == body


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in ("identity", "a character encoding")])
def test_a_small_body_that_expands_beyond_the_limit_is_rejected_before_it_takes_the_memory(name: str) -> None:
    coding, encode = ENCODERS[name]
    bomb = encode(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decoded(bomb, coding, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in ("identity", "a character encoding")])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-3], lambda raw: b"\xff\xff" + raw[2:], lambda raw: b""])
def test_a_damaged_body_is_the_clients_fault(name: str, damage: Callable[[bytes], bytes]) -> None:
    coding, encode = ENCODERS[name]
    with pytest.raises(CallerError, match="not complete"):
        decoded(damage(encode(BODY)), coding, 1000)


def test_many_empty_members_are_rejected() -> None:
    with pytest.raises(CallerError, match="not complete"):
        decoded(gzip.compress(b"") * 1000, "gzip", 1000)
    with pytest.raises(CallerError, match="not complete"):
        decoded(zstandard.compress(b"") * 1000, "zstd", 1000)


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "br,gzip", "aws-chunked", "x" * 500])
def test_another_coding_or_several_are_refused_with_those_that_are_accepted(coding: str) -> None:
    with pytest.raises(UnsupportedCodingError) as caught:
        decoded(b"", coding, 10)
    response = error_response(caught.value)
    assert response.status == 415
    assert all(name in response.message and name in response.headers["accept-encoding"] for name in ACCEPTED)
    assert len(response.message) < 200


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/route"])
def test_a_compressed_request_is_answered(gateway: httpx.Client, name: str, path: str) -> None:
    coding, encode = ENCODERS[name]
    body = b'{"max_tokens": 9, "input": "hi", ' + BODY[1:]
    assert gateway.post(path, content=encode(body), headers={"content-encoding": coding}).status_code == 200


@pytest.mark.parametrize("encode", [gzip.compress, zstandard.compress])
def test_a_coding_that_is_not_stated_is_recognised(gateway: httpx.Client, encode: Callable[[bytes], bytes]) -> None:
    assert gateway.post("/v1/chat/completions", content=encode(BODY)).status_code == 200


def test_a_bomb_is_answered_with_413(gateway: httpx.Client) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    response = gateway.post("/v1/chat/completions", content=bomb, headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_an_unknown_coding_is_answered_with_415_in_the_clients_protocol(gateway: httpx.Client) -> None:
    response = gateway.post("/v1/messages", content=BODY, headers={"content-encoding": "snappy"})
    assert (response.status_code, response.json()["type"]) == (415, "error")
    assert response.headers["accept-encoding"] == "gzip, deflate, zstd, br"
