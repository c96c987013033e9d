from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from router.dispatch.bounds.body_memory import BodyMemory
from router.dispatch.pool.queue import QueueLimits
from router.errors import BusyError, CallerError
from router.gateway.http import body
from router.gateway.http.body import JsonLimits, count_values, read_body, read_json_object, read_object, read_raw
from router.gateway.http.client.exchange import Exchange
from router.gateway.http.errors import SlowBodyError, TooLargeError, error_response
from tests.gateway.http.client.lines import Transport, exchange_on

NO_HEADERS: Mapping[str, str] = {}
tasks: set[asyncio.Future[None]] = set()


def arriving(*pieces: bytes, headers: Mapping[str, str] = NO_HEADERS, end: str = "complete") -> Exchange:
    """A request whose body arrives in pieces, and then is complete, or its client leaves, or no more comes."""
    exchange = exchange_on(Transport(), headers=headers)

    async def arrive() -> None:
        for piece in pieces[1:]:
            await asyncio.sleep(0)
            exchange.take(piece)
        finish()

    def finish() -> None:
        if end == "complete":
            exchange.end_body()
        elif end == "departure":
            exchange.lose()

    if pieces:
        exchange.take(pieces[0])
    if len(pieces) > 1 or end != "complete":
        tasks.add(task := asyncio.ensure_future(arrive()))
        task.add_done_callback(tasks.discard)
    else:
        finish()
    return exchange


def read(*pieces: bytes, max_bytes: int = 10, end: str = "complete") -> bytes:
    async def main() -> bytes:
        with BodyMemory(2**20, QueueLimits(), 1.0).reserved() as memory:
            return await read_raw(arriving(*pieces, end=end), max_bytes, memory)

    return asyncio.run(main())


def test_the_chunks_of_a_body_are_joined() -> None:
    assert read(b"ab", b"cd") == b"abcd"


@pytest.mark.parametrize("pieces", [(b"x" * 11,), (b"x" * 6, b"x" * 6)])
def test_a_body_that_is_too_large_is_rejected(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(TooLargeError):
        read(*pieces)


def test_an_endless_body_is_not_read_to_the_end() -> None:
    with pytest.raises(TooLargeError):
        read(*[b"x" * 10] * 6, end="never")


def test_a_disconnect_during_the_body_is_detected() -> None:
    with pytest.raises(ClientDisconnect):
        read(b"x", end="departure")


def test_a_body_that_does_not_arrive_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_TIMEOUT_S", 0.05)
    with pytest.raises(SlowBodyError) as caught:
        read(b"x", end="never")
    assert error_response(caught.value).status == 408


@pytest.mark.parametrize(("levels", "max_depth"), [(5, 4), (300, 200)])
def test_a_body_that_is_nested_too_deeply_is_rejected(levels: int, max_depth: int) -> None:
    with pytest.raises(CallerError, match="deeply"):
        read_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}", max_depth)


def test_brackets_inside_strings_do_not_count_as_nesting() -> None:
    assert read_object(b'{"a":"' + b"[" * 500 + b'"}', 10) == {"a": "[" * 500}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_states_the_encoding(encoding: str) -> None:
    assert read_object('{"text": "é😀"}'.encode(encoding), 5) == {"text": "é😀"}


def test_a_body_that_is_not_in_the_encoding_of_its_mark_is_the_clients_fault() -> None:
    with pytest.raises(CallerError, match="UTF-8"):
        read_object(b"\xff\xfe{", 5)


LISTS = b'{"a":[' + b"[]," * 50_000 + b"[]]}"


def test_values_are_counted_before_a_body_is_decoded() -> None:
    with pytest.raises(CallerError, match="more than 100,000 JSON values"):
        count_values(LISTS, 100_000)
    assert count_values(b'{"a":[1,2,{"b":3}],"c":[]}', 100) == 4 * 4 + 3


@pytest.mark.parametrize("text", ['[,{"', "\\", '\\"[[[[', "é[,", '{"a":[1,2]}'])
@pytest.mark.parametrize("repeats", [1, 40_000])
def test_what_is_in_strings_is_no_value(text: str, repeats: int) -> None:
    # Long enough that strings cross the parts in which the text is searched.
    raw = json.dumps({"a": text * repeats, "b": [text] * 3}, ensure_ascii=False).encode()
    assert count_values(raw, 12) == 4 * 2 + 3


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=20), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
    )
)
def test_the_exact_count_is_that_of_the_decoded_values(value: Any) -> None:
    assert_counted(value)


@given(st.recursive(st.text('\\"[,', max_size=8), lambda of: st.lists(of, max_size=4)), st.integers(2, 9))
def test_the_exact_count_is_the_same_in_parts_of_any_length(value: Any, part_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(body, "_PART_BYTES", part_bytes)
        assert_counted(value)


def assert_counted(value: Any) -> None:
    def counted(part: Any) -> int:
        inner = list(part.values()) if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inner is None else 4 + max(len(inner) - 1, 0) + sum(map(counted, inner))

    expected = counted(value)
    raw = json.dumps(value).encode()
    assert count_values(raw, 10**9) >= expected
    # A limit below the rough count asks for the exact one.
    assert count_values(raw, expected) == expected
    if expected:
        with pytest.raises(CallerError):
            count_values(raw, expected - 1)


def decode(raw: bytes, coding: str = "", **limits: Any) -> tuple[dict[str, Any], int]:
    """The object of a body, and the memory that was reserved for it."""

    async def main() -> tuple[dict[str, Any], int]:
        with BodyMemory(2**30, QueueLimits(), 1.0).reserved() as memory:
            headers = {"content-encoding": coding, "content-length": str(len(raw))}
            text = await read_body(arriving(raw, headers=headers), 2**24, memory)
            return await read_json_object(text, JsonLimits(limits.get("values", 10**6), 100), memory), memory.bytes

    return asyncio.run(main())


def test_values_are_limited_after_the_content_coding_is_removed() -> None:
    with pytest.raises(CallerError, match="JSON values"):
        decode(gzip.compress(LISTS), "gzip", values=1000)


def test_memory_is_reserved_for_a_short_body_that_has_arrived_whole() -> None:
    async def main() -> int:
        with BodyMemory(2**20, QueueLimits(), 1.0).reserved() as memory:
            await read_body(arriving(b"--XX\r\n"), 2**20, memory)
            return memory.bytes

    assert asyncio.run(main()) == 6


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_memory_is_reserved_for_the_decoded_body_and_its_values(coding: str) -> None:
    body, reserved = decode(gzip.compress(LISTS) if coding else LISTS, coding)
    assert len(body["a"]) == 50_001
    assert reserved > len(LISTS) + 50_000 * 4 * 64


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_memory_is_reserved_for_every_copy_of_a_large_body(coding: str) -> None:
    text = json.dumps({"a": "x" * 2**21}).encode()
    _, reserved = decode(gzip.compress(text) if coding else text, coding)
    assert reserved >= 3 * len(text)


def test_memory_is_reserved_for_texts_of_which_one_character_widens_all() -> None:
    text = json.dumps({"a": [{"b": "x" * 2**21 + "\U0001f600"}]}).encode()
    body, reserved = decode(text)
    assert reserved >= len(text) + 2 * sys.getsizeof(body["a"][0]["b"])


def test_requests_with_large_bodies_wait_for_each_other_before_they_are_read() -> None:
    async def main() -> int:
        memory, most, reading = BodyMemory(2**24, QueueLimits(), 1.0), 0, 0
        text = json.dumps({"a": "x" * 2**21}).encode()

        async def request() -> None:
            nonlocal most, reading
            with memory.reserved() as reserved:
                exchange = arriving(text, headers={"content-length": str(len(text))})
                raw = await read_body(exchange, 2**24, reserved)
                reading += 1
                most = max(most, reading)
                await read_json_object(raw, JsonLimits(100, 100), reserved)
                await asyncio.sleep(0.01)
                reading -= 1

        await asyncio.gather(*(request() for _ in range(12)))
        return most

    assert asyncio.run(main()) == 1


def test_a_body_that_finds_no_memory_is_refused_before_it_is_read() -> None:
    async def main() -> None:
        memory = BodyMemory(2**20, QueueLimits(0), 1.0)
        with memory.reserved() as other, memory.reserved() as reserved:
            await other.reserve(2**20)
            with pytest.raises(BusyError):
                await read_raw(arriving(headers={"content-length": "1000"}, end="never"), 2**20, reserved)

    asyncio.run(main())
