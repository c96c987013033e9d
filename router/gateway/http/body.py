"""The body of a request: bounded, then read as JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from router.errors import CallerError, FieldError
from router.formats.json import read_json
from router.gateway.http.errors import SlowBodyError, TooLargeError

_DRAINED_TIMES = 4
_LONGEST_S = 60.0


async def read_raw(receive: Receive, most_bytes: int) -> bytes:
    """The whole body. Raises TooLargeError above `most_bytes`, SlowBodyError where it takes longer than a minute, and
    ClientDisconnect where the client leaves.
    """
    try:
        async with asyncio.timeout(_LONGEST_S):
            return await _read_raw(receive, most_bytes)
    except TimeoutError:
        raise SlowBodyError(_LONGEST_S) from None


async def _read_raw(receive: Receive, most_bytes: int) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        if len(whole) > most_bytes:
            raise TooLargeError(most_bytes)
        return whole
    pieces: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        size += len(message.get("body", b""))
        if size <= most_bytes:
            pieces.append(message.get("body", b""))
        else:
            # Most clients read the answer only after sending everything, so some more is taken in and dropped.
            pieces.clear()
        if not message.get("more_body") or size > _DRAINED_TIMES * most_bytes:
            break
        message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if size > most_bytes:
        raise TooLargeError(most_bytes)
    return b"".join(pieces)


def read_object(raw: bytes, deepest: int) -> dict[str, Any]:
    """The JSON object in `raw`, nested at most `deepest` levels. Raises CallerError saying what is wrong with it."""
    try:
        body = read_json(raw)
    except UnicodeDecodeError as error:
        raise CallerError(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise CallerError("the body is nested too deeply") from None
    except ValueError as error:
        raise CallerError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise CallerError("the body must be a JSON object")
    if raw.count(b"[") + raw.count(b"{") > deepest and _is_deeper(body, deepest):
        raise CallerError(f"the body is nested too deeply: more than {deepest} levels")
    return body


def wants_stream(body: dict[str, Any]) -> bool:
    """Whether the answer is to come as server-sent events."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise FieldError("stream", "must be true or false")
    return bool(stream)


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return False
    return True
