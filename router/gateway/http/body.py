"""The body of a request: size and time are limited, then its content coding is removed and it is decoded as JSON."""

from __future__ import annotations

import asyncio
import codecs
import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from router.errors import BusyError, CallerError
from router.formats.codings import coding_that_begins
from router.formats.json import read_json
from router.gateway.http.content_coding import decoded
from router.gateway.http.errors import SlowBodyError, TooLargeError

# A body above the limit is read up to this multiple of it before the connection is given up.
_DRAIN_FACTOR = 4
_TIMEOUT_S = 60.0
_RETRY_AFTER_S = 1.0
# The first bytes of the byte order marks of UTF-8, UTF-16 and UTF-32.
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


async def read_body(receive: Receive, headers: Mapping[str, str], max_bytes: int) -> bytes:
    """Read the whole body, without its content coding. Names of `headers` are in lower case.

    A coding that the client does not state is recognised by the first bytes.
    Both the body as it was sent and the decoded one are limited to `max_bytes`. Raises as `read_raw` and `decoded` do.
    """
    raw = await read_raw(receive, max_bytes)
    coding = headers.get("content-encoding") or coding_that_begins(raw)
    # A small body may take long to decode.
    return await asyncio.to_thread(decoded, raw, coding, max_bytes) if coding else raw


async def read_raw(receive: Receive, max_bytes: int) -> bytes:
    """Read the whole body.

    Raises TooLargeError above `max_bytes`, SlowBodyError after a minute, ClientDisconnect if the client disconnects.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await _read_raw(receive, max_bytes)
    except TimeoutError:
        raise SlowBodyError(_TIMEOUT_S) from None


async def _read_raw(receive: Receive, max_bytes: int) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        whole: bytes = message.get("body", b"")
        if len(whole) > max_bytes:
            raise TooLargeError(max_bytes)
        return whole
    chunks: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        size += len(message.get("body", b""))
        if size <= max_bytes:
            chunks.append(message.get("body", b""))
        else:
            # Most clients read the response only after sending everything, so some more is read and dropped.
            chunks.clear()
        if not message.get("more_body") or size > _DRAIN_FACTOR * max_bytes:
            break
        message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if size > max_bytes:
        raise TooLargeError(max_bytes)
    return b"".join(chunks)


def read_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    """Decode a JSON object that is nested at most `max_depth` levels deep.

    It is in UTF-8, or in the encoding of its byte order mark: PowerShell and .NET write one. Raises CallerError, or
    BusyError where it does not fit into the memory that is left.
    """
    try:
        return _read_object(raw, max_depth)
    except MemoryError:
        raise BusyError("not enough memory is free to read this body", _RETRY_AFTER_S) from None


def _read_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    try:
        body = read_json(raw.decode(json.detect_encoding(raw)).encode() if raw.startswith(_MARKS) else raw)
    except UnicodeDecodeError as error:
        raise CallerError(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise CallerError("the body is nested too deeply") from None
    except ValueError as error:
        raise CallerError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise CallerError("the body must be a JSON object")
    if raw.count(b"[") + raw.count(b"{") > max_depth and _is_deeper(body, max_depth):
        raise CallerError(f"the body is nested too deeply: more than {max_depth} levels")
    return body


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for nodes in children for child in nodes if isinstance(child, dict | list)]
        if not level:
            return False
    return True
