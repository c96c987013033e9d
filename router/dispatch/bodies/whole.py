"""Whole answers and errors of upstreams: read within a limit, and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.cards.schema import Card
from router.dispatch.bodies.reader import BodyReader
from router.dispatch.bodies.redaction import one_line, redacted
from router.dispatch.bodies.summary import summary_in, summary_of
from router.dispatch.bounds.time_limit import TimeLimit
from router.dispatch.connection.egress import secrets_of
from router.dispatch.failover import log_refusal
from router.dispatch.http1 import Answer
from router.dispatch.providers import api_key, base_url
from router.dispatch.response import UpstreamResponse
from router.errors import UpstreamError
from router.formats.codings import coding_that_begins
from router.formats.json import json_or_none
from router.wire.errors import fault_of, is_error_body
from router.wire.usage import texts_in, tokens_of, usage_in

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MAX_DECODED_BYTES = 2**20


def taken_whole(response: Answer) -> bytes | None:
    """The body of an answer that has arrived whole and has no coding; None for any other, of which nothing is taken."""
    if not response.is_complete or "content-encoding" in response.headers:
        return None
    body = response.arrived
    return None if coding_that_begins(body) or len(body) > MAX_RESPONSE_BYTES else response.take()


async def read_whole(card: Card, response: Answer, body: BodyReader, idle_s: float, arrived: list[bytes]) -> bytes:
    """The body. `Content-Length` is used only to reject a body that is too large before it is read.

    The chunks of a success are added to `arrived`.
    """
    chunks = arrived if response.status < 300 else []
    chunks.clear()
    size = 0
    while size <= MAX_RESPONSE_BYTES and (response.length or 0) <= MAX_RESPONSE_BYTES:
        if response.is_complete:
            # Nothing is waited for, and a clock would cost more than the reading.
            chunk = await body.read()
        else:
            with TimeLimit(idle_s):
                chunk = await body.read()
        if not chunk:
            chunks[:] = [b"".join(chunks)]  # one copy
            return chunks[0]
        chunks.append(chunk)
        size += len(chunk)
    raise UpstreamError(f'the response of the card "{card.id}" is too large', 502, "too_large")


def tokens_in(arrived: Sequence[bytes]) -> int:
    """About how many tokens a part of an answer has. A large one is not decoded, which takes time and memory."""
    size = sum(map(len, arrived))
    return tokens_of(size) if size > _MAX_DECODED_BYTES else texts_in(b"".join(arrived)).tokens


def redacting(card: Card, key: str | None) -> Callable[[str], str]:
    return lambda text: redacted(text.encode(), secrets_of(card, key), base_url(card)).decode()


def reason_of(card: Card, error: Exception) -> str:
    """Why a call failed, in one line for operators: it may name hosts and addresses, but no secret."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    return one_line(redacted(text.encode("utf-8", "replace"), secrets_of(card, api_key(card)), None).decode())


def whole_response(
    card: Card, key: str | None, status: int, headers: dict[str, str], body: bytes, decode: bool
) -> UpstreamResponse:
    if status >= 300:
        return error_response(card, key, status, headers, body)
    decoded = json_or_none(body) if decode else None
    summary = summary_of(decoded) if decode else summary_in(body)
    if summary is None and is_error_body(json_or_none(body)):
        return error_response(card, key, None, headers, body)
    if summary is None:
        raise UpstreamError(f'the response of the card "{card.id}" is not a JSON object', 502, "garbage")
    if summary.is_error:
        return error_response(card, key, None, headers, body)
    counts = {"usage": summary.usage}
    if summary.service_tier is not None:
        counts["service_tier"] = summary.service_tier
    usage = usage_in(counts)
    if usage is None and isinstance(whole := decoded or json_or_none(body), dict):
        if is_error_body(whole):
            return error_response(card, key, None, headers, body)
        # The counts may be in another place.
        usage = usage_in(whole)
    if summary.lacks_choices:
        raise UpstreamError(f'the response of the card "{card.id}" has no `choices`', 502, "empty")
    if word := summary.given_up:
        problem = f'the upstream of the card "{card.id}" stopped with the finish reason "{word}"'
        raise UpstreamError(problem, 502, "error_event")
    return UpstreamResponse(card, status, {**headers, "content-type": "application/json"}, body, usage, decoded)


def error_response(
    card: Card, key: str | None, status: int | None, headers: dict[str, str], body: bytes
) -> UpstreamResponse:
    """The response for an error; `status` is None where that of the response is a success."""
    if status is not None and status < 400:
        raise UpstreamError(f'the upstream of the card "{card.id}" sent a redirect, which is not followed')
    if status == 407:
        raise UpstreamError(f'the proxy for calls of the card "{card.id}" refuses the gateway (HTTP 407)', 502, "proxy")
    body = redacted(body, secrets_of(card, key), base_url(card))
    decoded = json_or_none(body)
    fault = fault_of(status, body.decode("utf-8", "replace") if decoded is None else decoded)
    log_refusal(card, fault)
    if fault.status in (401, 403) or fault.meaning.refusal:
        return UpstreamResponse(card, fault.status, headers, b"", fault=fault)
    return UpstreamResponse(card, fault.status, headers, body, decoded=decoded, fault=fault)
