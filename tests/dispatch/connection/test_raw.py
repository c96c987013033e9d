"""What is read of a response that is passed on as it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dispatch.connection.raw import RawStream
from router.errors import UpstreamError
from router.types import Usage
from router.wire.usage import usage_in

IMAGE = "iVBORw0KGgo" * 200_000  # 2.2 MB, as a large image in base64 has
COUNTS = {"input_tokens": 10, "output_tokens": 4160, "total_tokens": 4170}
FAKE = '","usage":{"input_tokens":1,"output_tokens":1}}'
CHUNK_BYTES = 50_000


def usage_of(body: bytes, chunk_bytes: int = CHUNK_BYTES) -> Usage | None:
    """The usage that is read of a body, which arrives in chunks of this size."""
    chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]

    async def read() -> bytes:
        return chunks.pop(0) if chunks else b""

    async def main() -> Usage | None:
        stream = RawStream(read, lambda: None, lambda: UpstreamError("late"), 1.0)
        assert b"".join([chunk async for chunk in stream]) == body
        return stream.usage

    return asyncio.run(main())


def events(*values: dict[str, Any], newline: str = "\n") -> bytes:
    return "".join(f"data: {json.dumps(value)}{newline}{newline}" for value in values).encode()


@pytest.mark.parametrize("chunk_bytes", [1000, CHUNK_BYTES, 10_000_000])
@pytest.mark.parametrize("behind", [{}, {"size": "1024x1024", "quality": "high"}], ids=["last", "not-last"])
def test_the_usage_behind_a_large_image_is_read(chunk_bytes: int, behind: dict[str, Any]) -> None:
    body = {"created": 1, "data": [{"b64_json": IMAGE}], "usage": COUNTS, **behind}
    assert usage_of(json.dumps(body, indent=1).encode() + b"\n", chunk_bytes) == Usage(10, 4160)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("done", [b"", b"data: [DONE]\n\n"])
def test_the_usage_of_a_stream_of_large_images_is_read(newline: str, done: bytes) -> None:
    partial = {"type": "image_generation.partial_image", "b64_json": IMAGE}
    completed = {"type": "image_generation.completed", "b64_json": IMAGE, "usage": COUNTS}
    assert usage_of(events(partial, completed, newline=newline) + done) == Usage(10, 4160)


def test_the_usage_at_the_end_of_a_long_stream_of_speech_is_read() -> None:
    deltas = [{"type": "speech.audio.delta", "audio": IMAGE[:30_000]}] * 60
    assert usage_of(events(*deltas, {"type": "speech.audio.done", "usage": COUNTS})) == Usage(10, 4160)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": [{"b64_json": IMAGE, "revised_prompt": FAKE}]}, id="in-a-text"),
        pytest.param({"b64_json": IMAGE, "revised_prompt": FAKE}, id="in-the-last-text"),
        pytest.param({"b64_json": IMAGE, "revised_prompt": "a, " + FAKE[2:]}, id="in-a-text-without-quote"),
        pytest.param({"b64_json": IMAGE, "texts": ["a,", "usage", ":{}"]}, id="in-a-list"),
        pytest.param({"b64_json": IMAGE, "metadata": {"a": 1, "usage": {"output_tokens": 1}}}, id="further-inside"),
        pytest.param({"b64_json": IMAGE, "revised_prompt": "x" * 100_000 + FAKE}, id="in-a-text-whose-begin-is-lost"),
    ],
)
def test_what_only_looks_like_usage_is_not_read(body: dict[str, Any]) -> None:
    assert usage_of(json.dumps(body).encode()) is None
    assert usage_of(events(body)) is None


def test_the_end_of_a_large_body_that_is_no_json_is_not_read() -> None:
    assert usage_of(IMAGE.encode() + FAKE.encode()) is None
    assert usage_of(b'"' + IMAGE.encode() + FAKE.encode()) is None


NAMES = st.sampled_from(["usage", "metadata", "a", 'b"', "output_tokens"])
VALUES = st.recursive(
    st.integers(0, 99) | st.text('ab,:{}[]"\\ ', max_size=30) | st.sampled_from(["usage", FAKE, FAKE[1:], FAKE[2:]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.booleans())
def test_no_other_usage_is_read_than_that_of_the_whole_body(fields: dict[str, Any], streams: bool) -> None:
    body = {"b64_json": IMAGE[:1_100_000], **fields}
    whole = usage_in({"usage": body.get("usage")})
    raw = events(body) if streams else json.dumps(body).encode()
    assert usage_of(raw, 600_000) in (None, whole)
