"""The body of a request: its size, time and memory are limited, its content coding is removed, and it is decoded as
JSON.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from starlette.requests import ClientDisconnect

from router.dispatch.bounds.body_memory import Reserved
from router.errors import BusyError, CallerError
from router.formats.codings import coding_that_begins
from router.formats.json import read_json
from router.gateway.http.client.exchange import Exchange
from router.gateway.http.content_coding import decoded
from router.gateway.http.errors import SlowBodyError, TooLargeError

T = TypeVar("T")
# A body above the limit is read up to this multiple of it before the connection is given up.
_DRAIN_FACTOR = 4
_TIMEOUT_S = 60.0
# Reading and routing a larger body takes long enough for other clients to notice.
LARGE_BODY_BYTES = 256 * 1024
_RETRY_AFTER_S = 1.0
_SHORT_BYTES = 2**20
_PART_BYTES = 2**18
_MAX_DIGITS = 20
# A number or a short text with its place in a list; a list or an object counts as several values.
_BYTES_PER_VALUE = 64
# A list or an object takes that much more memory and time than a number.
_VALUES_PER_CONTAINER = 4
# While a request is answered, its text is held in the body, in the prompt, and in what the upstream gets.
_COPIES = 3
# The first bytes of the byte order marks of UTF-8, UTF-16 and UTF-32.
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class JsonLimits(Struct, frozen=True):
    """How many values the JSON of a body may have, and how many levels."""

    values: int
    depth: int


def held_bytes(size: int) -> int:
    """The memory that a JSON body of so many bytes takes while its request is answered, apart from its values."""
    return size if size <= _SHORT_BYTES else _COPIES * size


def _one_copy(size: int) -> int:
    return size


async def read_body(exchange: Exchange, max_bytes: int, memory: Reserved) -> bytes:
    """Read the whole body of a JSON request, without its content coding.

    A coding that the client does not state is recognised by the first bytes. Both the body as it was sent and the
    decoded one are limited to `max_bytes`, and `memory` is reserved first: at once for all that the request will hold,
    since requests that each hold a part and wait for the rest would wait for each other. Raises as `read_raw` and
    `decoded` do.
    """
    raw = exchange.whole_body()
    if raw is None:
        raw = await read_raw(exchange, max_bytes, memory, held_bytes)
    elif len(raw) > max_bytes:
        raise TooLargeError(max_bytes)
    else:
        await memory.reserve(held_bytes(len(raw)))
    coding = exchange.headers.get("content-encoding") or coding_that_begins(raw)
    if not coding:
        return raw
    body = await _decoded(raw, coding, max_bytes, memory)
    await memory.reserve(held_bytes(len(body)))
    memory.keep(held_bytes(len(body)))
    return body


async def _decoded(raw: bytes, coding: str, max_bytes: int, memory: Reserved) -> bytes:
    # How long the body becomes is not known before; most are short. A small body may take long to decode.
    if len(raw) < _SHORT_BYTES < max_bytes:
        await memory.reserve(len(raw) + _SHORT_BYTES)
        with contextlib.suppress(TooLargeError):
            return await asyncio.to_thread(decoded, raw, coding, _SHORT_BYTES)
    await memory.reserve(len(raw) + max_bytes)
    return await asyncio.to_thread(decoded, raw, coding, max_bytes)


async def read_raw(
    exchange: Exchange, max_bytes: int, memory: Reserved, held: Callable[[int], int] = _one_copy
) -> bytes:
    """Read the whole body, for which `memory` is reserved: at once where the client states its length, else as it
    arrives. `held`: how much, by the bytes of the body.

    Raises TooLargeError above `max_bytes`, SlowBodyError after a minute, BusyError where there is no memory,
    ClientDisconnect if the client disconnects.
    """
    stated = exchange.headers.get("content-length", "")
    if stated.isascii() and stated.isdecimal() and int(stated[:_MAX_DIGITS]) <= max_bytes:
        await memory.reserve(held(int(stated[:_MAX_DIGITS])))
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await _read_raw(exchange, max_bytes, memory, held)
    except TimeoutError:
        raise SlowBodyError(_TIMEOUT_S) from None


async def _read_raw(exchange: Exchange, max_bytes: int, memory: Reserved, held: Callable[[int], int]) -> bytes:
    message = await exchange.receive()
    chunks: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        size += len(message.get("body", b""))
        if size <= max_bytes:
            await memory.reserve(held(size))
            chunks.append(message.get("body", b""))
        else:
            # Most clients read the response only after sending everything, so some more is read and dropped.
            chunks.clear()
            memory.keep(0)
        if not message.get("more_body") or size > _DRAIN_FACTOR * max_bytes:
            break
        message = await exchange.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if size > max_bytes:
        raise TooLargeError(max_bytes)
    return b"".join(chunks)


async def read_json_object(raw: bytes, limits: JsonLimits, memory: Reserved) -> dict[str, Any]:
    """Decode the JSON object of a body within `limits`, after `memory` was reserved for its values. Raises CallerError
    and BusyError.
    """
    if len(raw) <= LARGE_BODY_BYTES:
        text = _in_utf8(raw)
        await memory.reserve(held_bytes(len(raw)) + count_values(text, limits.values) * _BYTES_PER_VALUE)
        return read_object(text, limits.depth)
    text = await asyncio.to_thread(_in_utf8, raw)
    values = await asyncio.to_thread(count_values, text, limits.values)
    expected = held_bytes(len(raw)) + values * _BYTES_PER_VALUE
    await memory.reserve(expected)
    async with memory.decoding:
        body = await asyncio.to_thread(read_object, text, limits.depth)
        more = await asyncio.to_thread(_widened_bytes, body) if len(raw) > _SHORT_BYTES else 0
    await memory.reserve(expected + more)
    return body


def _widened_bytes(body: dict[str, Any]) -> int:
    """What the long texts of a decoded body take beyond a byte for each character: one emoji makes all of its text's
    characters take four. Twice, since the prompt is a copy.
    """
    extra, left = 0, [body]
    while left:
        value: Any = left.pop()
        if isinstance(value, str):
            if len(value) > _SHORT_BYTES and not value.isascii():
                extra += max(sys.getsizeof(value) - len(value), 0)
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return 2 * extra


def count_values(raw: bytes, limit: int) -> int:
    """About how many values a JSON text in UTF-8 has, before it is decoded. Raises CallerError where there are more
    than `limit`. A list or an object counts as four, since it takes many times the memory of its text.
    """
    if len(raw) <= _PART_BYTES:
        values = _separators(raw)
    else:
        # In parts, so that other threads run meanwhile.
        starts = range(0, len(raw), _PART_BYTES)
        values = sum(_separators(raw[start : start + _PART_BYTES]) for start in starts)
    if values <= limit:
        return values
    # Some of them may be in strings, which escapes must not seem to end.
    values, is_in_string, start = 0, False, 0
    while start < len(raw):
        part = raw[start : start + _PART_BYTES]
        if len(part) > 1 and (len(part) - len(part.rstrip(b"\\"))) % 2:
            # The last one escapes what comes next.
            part = part[:-1]
        start += len(part)
        pieces = part.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        values += _separators(b"".join(pieces[is_in_string::2]))
        is_in_string ^= len(pieces) % 2 == 0
        if values > limit:
            raise CallerError(f"the body has more than {limit:,} JSON values (`max_values` of gateway.yaml)")
    return values


def _separators(text: bytes) -> int:
    return text.count(b",") + _VALUES_PER_CONTAINER * (text.count(b"[") + text.count(b"{"))


def read_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    """Decode a JSON object that is nested at most `max_depth` levels deep.

    It is in UTF-8, or in the encoding of its byte order mark. Raises CallerError, or BusyError where it does not fit
    into the memory that is left.
    """
    try:
        return _read_object(raw, max_depth)
    except MemoryError:
        raise BusyError("not enough memory is free to read this body", _RETRY_AFTER_S) from None


def _read_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    try:
        body = read_json(_in_utf8(raw))
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


def _in_utf8(raw: bytes) -> bytes:
    """A text in the encoding of its byte order mark, which PowerShell and .NET write, in UTF-8. Raises CallerError."""
    if not raw.startswith(_MARKS):
        return raw
    try:
        return raw.decode(json.detect_encoding(raw)).encode()
    except UnicodeDecodeError as error:
        raise CallerError(f"the body is not UTF-8 (byte {error.start})") from None


class Run(Protocol):
    """Calls a function with its arguments, and returns what it returns."""

    async def __call__(self, work: Callable[..., T], /, *arguments: Any) -> T: ...


def runner(is_large: bool) -> Run:
    """Calls a function in a thread where it takes long enough for other clients to notice, else at once."""
    return asyncio.to_thread if is_large else _run_inline


async def _run_inline(work: Callable[..., T], /, *arguments: Any) -> T:
    return work(*arguments)


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for nodes in children for child in nodes if isinstance(child, dict | list)]
        if not level:
            return False
    return True
