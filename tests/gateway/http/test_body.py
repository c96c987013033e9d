from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from router.errors import CallerError
from router.gateway.http import body
from router.gateway.http.body import read_object, read_raw
from router.gateway.http.errors import SlowBodyError, TooLargeError, error_response


def receiving(*messages: dict[str, Any]) -> Callable[[], Awaitable[dict[str, Any]]]:
    """A server that sends these messages, and then no more."""
    remaining = list(messages)

    async def receive() -> dict[str, Any]:
        if not remaining:
            await asyncio.sleep(60)
        return remaining.pop(0)

    return receive


def chunk(content: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def read(*messages: dict[str, Any], max_bytes: int = 10) -> bytes:
    return asyncio.run(read_raw(receiving(*messages), max_bytes))


def test_the_chunks_of_a_body_are_joined() -> None:
    assert read(chunk(b"ab", more=True), chunk(b"cd")) == b"abcd"


@pytest.mark.parametrize("messages", [(chunk(b"x" * 11),), (chunk(b"x" * 6, more=True), chunk(b"x" * 6))])
def test_a_body_that_is_too_large_is_rejected(messages: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(TooLargeError):
        read(*messages)


def test_an_endless_body_is_not_read_to_the_end() -> None:
    with pytest.raises(TooLargeError):
        read(*[chunk(b"x" * 10, more=True)] * 6)


def test_a_disconnect_during_the_body_is_detected() -> None:
    with pytest.raises(ClientDisconnect):
        read(chunk(b"x", more=True), {"type": "http.disconnect"})


def test_a_body_that_does_not_arrive_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_TIMEOUT_S", 0.05)
    with pytest.raises(SlowBodyError) as caught:
        read(chunk(b"x", more=True))
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
