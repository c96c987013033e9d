"""Calls to upstreams that support the client's protocol: the response is passed on byte for byte."""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from router import __version__
from router.cards.schema import Card
from router.dispatch.bodies.coding import CodingError
from router.dispatch.bodies.exchange import as_stream, as_whole
from router.dispatch.bodies.fitting import ModelAt, model_at
from router.dispatch.bodies.reader import BodyReader, Read, are_events
from router.dispatch.bodies.whole import (
    error_response,
    read_whole,
    reason_of,
    redacting,
    taken_whole,
    tokens_in,
    whole_response,
)
from router.dispatch.bounds.pace import Pace
from router.dispatch.bounds.time_limit import TimeLimit
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.call import Call
from router.dispatch.connection.egress import endpoint, extra_headers, target
from router.dispatch.connection.raw import RawRequest, RawStream
from router.dispatch.connection.urls import endpoint_url
from router.dispatch.http1 import Answer, ConnectError, ConnectTimeoutError, Prepared, ProtocolError
from router.dispatch.http2 import Client
from router.dispatch.lora.naming import named_in
from router.dispatch.providers import api_key
from router.dispatch.response import UpstreamResponse, disconnected, late, passed_back, unreachable
from router.dispatch.stream import EventStream, Source, Take
from router.errors import UpstreamError
from router.formats.json import json_bytes
from router.wire.protocols import PROTOCOLS, WireProtocol

_LOG = logging.getLogger(__name__)

# This machine has no descriptors, ports or memory for a connection left, whatever the server's health is.
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
_LARGE_BYTES = 2**18  # where many larger answers arrive at once, others notice how long each takes to decode
_IDEMPOTENCY = "idempotency-key"
_FORWARDED = frozenset(
    {"anthropic-beta", "anthropic-version", _IDEMPOTENCY, "openai-beta", "traceparent", "tracestate"}
)
_ANTHROPIC_VERSION = "2023-06-01"
# These reject unknown fields, and always report the usage of a stream.
_ALWAYS_REPORT_USAGE = frozenset({"mistral"})
# For so long a model that rejects `stream_options` is not asked for the usage of streams, which then is estimated.
_WITHOUT_USAGE_S = 3600.0
_MAX_WITHOUT_USAGE = 1024

# `route` is for the gateway; the others would select another upstream or account.
NEVER_FORWARDED = frozenset({"route", "api_base", "base_url", "api_key"})
_FLAGS_METADATA = "route_flags"


class Relay:
    """Connections to upstreams, kept open between calls. Create and use it on one event loop."""

    def __init__(self, timeouts: Timeouts, forward_headers: tuple[str, ...] = (), http2: bool = False) -> None:
        self.timeouts, self.forward_headers, self.http2 = timeouts, forward_headers, http2
        self._pace = Pace()
        self._client = Client()
        # When those that reject `stream_options` are asked again, in seconds of the monotonic clock.
        self._without_usage_until_s: dict[ModelAt, float] = {}

    @functools.cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        # To ask for it costs a system call.
        return asyncio.get_running_loop()

    async def send(self, card: Card, call: Call, path: str = "") -> UpstreamResponse:
        """One attempt, at the endpoint of the call's protocol or at `path`.

        A retry gets a new connection, since other open ones may be broken as well. Raises UpstreamError where there is
        no valid HTTP response, or a stream breaks off before its first content.
        """
        call = named_in(call, card)
        protocol = PROTOCOLS[call.api]
        reports_usage = call.stream and protocol.supports_include_usage and self._is_asked_for_usage(card)
        include_usage = reports_usage and card.provider not in _ALWAYS_REPORT_USAGE
        # What arrives of a whole answer is charged where the call fails.
        arrived: list[bytes] = []
        try:
            with TimeLimit(call.answer_limit_s(self.timeouts), self._loop):
                response = await self._send(card, call, protocol, path, arrived, include_usage=include_usage)
                if reports_usage and not call.wants_usage and _rejects_stream_options(response):
                    response = await self._send(card, call, protocol, path, arrived, include_usage=False)
                    # The error may be about options of the client's own.
                    if response.status < 400:
                        self._forgo_usage(card)
                return response
        except (UpstreamError, OSError, ValueError) as error:
            raise _failure(card, error, arrived) from None
        finally:
            # Whoever keeps the error keeps its frames.
            arrived.clear()

    def _is_asked_for_usage(self, card: Card) -> bool:
        without = self._without_usage_until_s
        return not without or time.monotonic() >= without.get(model_at(card), 0.0)

    def _forgo_usage(self, card: Card) -> None:
        if len(self._without_usage_until_s) >= _MAX_WITHOUT_USAGE:
            self._without_usage_until_s.clear()
        self._without_usage_until_s[model_at(card)] = time.monotonic() + _WITHOUT_USAGE_S

    async def forward(self, card: Card, call: Call, raw: RawRequest) -> UpstreamResponse:
        """One attempt at a request that is passed on as it is; the body of a success is a `RawStream`.

        Raises UpstreamError where there is no valid HTTP response.
        """
        try:
            with TimeLimit(call.answer_limit_s(self.timeouts), self._loop):
                return await self._forward(card, call, raw)
        except (UpstreamError, OSError, ValueError) as error:
            raise _failure(card, error) from None

    async def _forward(self, card: Card, call: Call, raw: RawRequest) -> UpstreamResponse:
        key = api_key(card)
        headers = {**_headers(card, key, call), "accept": raw.accept}
        if raw.body:
            headers["content-type"] = raw.content_type
        else:
            del headers["content-type"]
        url = endpoint_url(card, raw.path)
        response = await self._client.send(
            raw.method,
            target(card, url.update_query(raw.query) if raw.query else url, self.http2),
            headers,
            raw.body,
            connect_s=self.timeouts.connect_s,
            is_alone=call.fresh_connection,
        )
        try:
            _check_status(card, response.status)
            passed = passed_back(response.headers, self.forward_headers)
            if disposition := response.headers.get("content-disposition"):
                passed["content-disposition"] = disposition
            read, coding = _reading(card, response), response.headers.get("content-encoding", "")
            if not 200 <= response.status < 300:
                body = await read_whole(card, response, BodyReader(read, coding), self.timeouts.idle_s, [])
                return error_response(card, key, response.status, passed, body)
        except BaseException:
            response.close()
            raise
        if coding:
            # The bytes may be a file, so they are passed on as they were sent.
            passed["content-encoding"] = coding
        stream = RawStream(read, response.close, lambda: late(card), self.timeouts.idle_s)
        return UpstreamResponse(card, response.status, passed, stream)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _send(
        self, card: Card, call: Call, protocol: WireProtocol, path: str, arrived: list[bytes], *, include_usage: bool
    ) -> UpstreamResponse:
        key = api_key(card)
        payload = _payload(card, call, include_usage)
        # Streams have their own time limits.
        timeouts = call.limits(self.timeouts) if call.stream else self.timeouts
        response = await self._client.send(
            "POST",
            endpoint(card, path or protocol.path, self.http2),
            _headers(card, key, call, payload),
            payload,
            connect_s=self.timeouts.connect_s,
            is_alone=call.fresh_connection,
        )
        try:
            status, headers = response.status, passed_back(response.headers, self.forward_headers)
            _check_status(card, status)
            may_stream = call.stream and status < 300
            whole = None if may_stream else taken_whole(response)
            if whole is None:
                body = BodyReader(response.read, response.headers.get("content-encoding", ""))
                # Servers mix up the content types, and whether a stream was requested.
                kind = await body.kind() if may_stream else "json"
                if kind == "events" or (kind == "other" and _is_event_stream(headers)):
                    source = _source(card, key, body, response)
                    keep_usage, decode = call.wants_usage, call.decode
                    stream = EventStream(source, protocol, timeouts, keep_usage=keep_usage, decode=decode)
                    await stream.start()
                    return UpstreamResponse(card, status, headers, stream)
                if kind == "other":
                    raise UpstreamError(f'the response of the card "{card.id}" is not an event stream', 502, "garbage")
                whole = await read_whole(card, response, body, self.timeouts.idle_s, arrived)
            elif status < 300:
                arrived.append(whole)
        except BaseException:
            response.close()
            raise
        if len(whole) > _LARGE_BYTES:
            await self._pace.turn(call.tenant)
        if may_stream:
            answer = whole_response(card, key, status, headers, whole, decode=True)
            return answer if answer.status >= 300 else await as_stream(answer, protocol, timeouts, call)
        if status < 300 and are_events(whole):
            whole = await as_whole(card, whole, protocol, timeouts, redacting(card, key))
        return whole_response(card, key, status, headers, whole, call.decode)


def _failure(card: Card, error: Exception, arrived: Sequence[bytes] = ()) -> UpstreamError:
    """What a call failed of, which had got so much of its answer."""
    match error:
        case UpstreamError():
            failure = error
        case ConnectTimeoutError():
            _LOG.warning("%s: %s", card.id, reason_of(card, error))
            failure = late(card, "connect_timeout")
        case TimeoutError():
            failure = late(card)
        case CodingError():
            failure = _undecodable(card, error)
        case _:
            failure = _broken(card, error)
    if arrived:
        failure.delivered_tokens = tokens_in(arrived)
    return failure


def _check_status(card: Card, status: int) -> None:
    if not 200 <= status < 600:
        raise UpstreamError(f'the upstream of the card "{card.id}" sent the invalid HTTP status {status}')


def forwarded_body(body: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """`body` with the upstream's name for the model, if any, and without the fields that are for the gateway."""
    forwarded = dict(body) if model is None else {**body, "model": model}
    if not NEVER_FORWARDED.isdisjoint(forwarded):
        for field in NEVER_FORWARDED:
            forwarded.pop(field, None)
    metadata = forwarded.get("metadata")
    if isinstance(metadata, Mapping) and _FLAGS_METADATA in metadata:
        others = {key: value for key, value in metadata.items() if key != _FLAGS_METADATA}
        forwarded["metadata"] = others
        if not others:
            del forwarded["metadata"]
    return forwarded


def _payload(card: Card, call: Call, include_usage: bool) -> bytes:
    body = forwarded_body(call.body, call.model or card.model)
    if card.provider in _ALWAYS_REPORT_USAGE:
        body.pop("stream_options", None)
    if include_usage:
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
    return json_bytes(body)


def _rejects_stream_options(response: UpstreamResponse) -> bool:
    return response.status in (400, 422) and isinstance(response.body, bytes) and b"stream_options" in response.body


def _headers(card: Card, key: str | None, call: Call, payload: bytes | None = None) -> Mapping[str, str]:
    """The headers of one call. `payload` is its body, None where that is passed on as it is."""
    usual = _usual_headers(card.provider == "anthropic", call.api == "messages", key)
    if not card.headers and _FORWARDED.isdisjoint(call.headers):
        return usual
    forwarded = {
        name: value for name in sorted(_FORWARDED) if (value := call.headers.get(name, "")) and value.isascii()
    }
    if payload is not None and (client_key := forwarded.get(_IDEMPOTENCY)):
        forwarded[_IDEMPOTENCY] = _idempotency_key(client_key, card, call, payload)
    return {**usual, **forwarded, **extra_headers(card)}


def _idempotency_key(client_key: str, card: Card, call: Call, payload: bytes) -> str:
    """The key of one of the calls that a request causes. It is the same whenever this call is repeated, also for a
    request that the client repeats, and another for every other call: a server answers a key that it knows from
    memory, and refuses one that comes with another body.
    """
    digest = hashlib.sha256(f"{client_key}\n{card.id}\n{call.number}\n".encode())
    digest.update(payload)
    return digest.hexdigest()


@functools.lru_cache(maxsize=128)
def _usual_headers(of_anthropic: bool, in_messages: bool, key: str | None) -> Prepared:
    headers = {
        "accept": "*/*",
        # The bytes are passed on unchanged, and not every client supports compression.
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"pulvinar/{__version__}",
    }
    if in_messages:
        headers["anthropic-version"] = _ANTHROPIC_VERSION
    if key is not None:
        name, value = ("x-api-key", key) if of_anthropic else ("authorization", f"Bearer {key}")
        headers[name] = value
    return Prepared(headers)


def _reading(card: Card, response: Answer) -> Read:
    async def read() -> bytes:
        try:
            return await response.read()
        except OSError as error:
            raise _broken(card, error) from None

    return read


def _source(card: Card, key: str | None, body: BodyReader, response: Answer) -> Source:
    async def read() -> bytes:
        try:
            return await body.read()
        except CodingError as error:
            raise _undecodable(card, error) from None
        except OSError as error:
            raise _broken(card, error) from None

    async def close() -> None:
        response.close()

    def read_now() -> bytes | None:
        return body.take_head() or (response.read_now() if body.is_plain else None)

    def offer_to(take: Take | None) -> None:
        response.offer_to(take if body.is_plain else None)

    return Source(card.id, read, close, redacting(card, key), offer_to=offer_to, read_now=read_now)


def _undecodable(card: Card, error: CodingError) -> UpstreamError:
    return UpstreamError(f'the response of the card "{card.id}" cannot be read: {error}', 502, "garbage")


def _broken(card: Card, error: Exception) -> UpstreamError:
    _LOG.warning("%s: %s", card.id, reason_of(card, error))
    if getattr(error, "errno", None) in _OUT_OF_RESOURCES:
        return UpstreamError(f'the gateway cannot connect to the upstream of the card "{card.id}" now', 503, "local")
    match error:
        case ConnectError():
            return unreachable(card)
        case ProtocolError():
            problem = f'the upstream of the card "{card.id}" sent an answer that is no valid HTTP'
        case OSError():
            return disconnected(card)
        case _:
            # For example a key that no header may contain.
            problem = f'the call to the upstream of the card "{card.id}" failed in the gateway'
    return UpstreamError(problem, 502, "cut")


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
