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
    """A server that has these messages, and then never another."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(60)
        return left.pop(0)

    return receive


def piece(content: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def read(*messages: dict[str, Any], most: int = 10) -> bytes:
    return asyncio.run(read_raw(receiving(*messages), most))


def test_a_body_in_pieces_is_joined() -> None:
    assert read(piece(b"ab", more=True), piece(b"cd")) == b"abcd"


@pytest.mark.parametrize("messages", [(piece(b"x" * 11),), (piece(b"x" * 6, more=True), piece(b"x" * 6))])
def test_a_body_that_is_too_large_is_refused(messages: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(TooLargeError):
        read(*messages)


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(TooLargeError):
        read(*[piece(b"x" * 10, more=True)] * 6)


def test_a_client_that_leaves_before_its_body_is_whole_is_noticed() -> None:
    with pytest.raises(ClientDisconnect):
        read(piece(b"x", more=True), {"type": "http.disconnect"})


def test_a_body_that_never_arrives_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_LONGEST_S", 0.05)
    with pytest.raises(SlowBodyError) as caught:
        read(piece(b"x", more=True))
    assert error_response(caught.value).status == 408


@pytest.mark.parametrize(("levels", "deepest"), [(5, 4), (300, 200)])
def test_a_body_that_is_nested_too_deeply_is_refused(levels: int, deepest: int) -> None:
    with pytest.raises(CallerError, match="deeply"):
        read_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}", deepest)


def test_brackets_inside_texts_are_no_nesting() -> None:
    assert read_object(b'{"a":"' + b"[" * 500 + b'"}', 10) == {"a": "[" * 500}
