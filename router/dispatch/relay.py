"""Upstreams that speak the client's own protocol: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from router import __version__
from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.providers import api_key, base_url, native_apis
from router.dispatch.response import UpstreamResponse, late, passed_back, redacted, unreachable
from router.dispatch.stream import EventStream, Source, Timeouts
from router.errors import UpstreamError
from router.formats.json import json_bytes, json_or_none
from router.wire.protocols import PROTOCOLS, WireProtocol
from router.wire.usage import usage_in

_LOG = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
# Servers whose documentation names them without the path that their protocol lives under.
_PATH_OFTEN_OMITTED = frozenset({"anthropic", "hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm"})
_FORWARDED = ("anthropic-beta", "anthropic-version", "idempotency-key", "openai-beta", "traceparent", "tracestate")
_ANTHROPIC_VERSION = "2023-06-01"
# These reject unknown fields, and report a stream's usage without being asked.
_REPORT_USAGE_UNASKED = frozenset({"mistral"})
# Servers run by uvicorn, vLLM among them, hang up after 5 idle seconds; a call must not meet them doing so.
_KEEP_ALIVE_S = 4.0
_READ_BUFFER_BYTES = 256 * 1024
_BLANKS = b" \t\r\n"
_SENT_AT_ONCE_BYTES = 1024 * 1024

# `route` is for the gateway; the others would choose another upstream or another account.
_NEVER_FORWARDED = ("route", "api_base", "base_url", "api_key")
_OWN_METADATA = "route_flags"


class _Summary(msgspec.Struct):
    """The fields of a whole answer that matter to the gateway; the rest is checked and skipped."""

    usage: Any = None
    error: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"")


_SUMMARY = msgspec.json.Decoder(_Summary)


def models_url(card: Card) -> str | None:
    """Where a relayed card's upstream lists its models; None where that is not known."""
    base = base_url(card)
    if base is None or "chat" not in native_apis(card):
        return None
    try:
        return str(_endpoint(base, card.provider in _PATH_OFTEN_OMITTED, "models"))
    except UpstreamError:
        return None


def is_url(card: Card) -> bool:
    """Whether the place of the card's upstream can be asked at all."""
    try:
        _endpoint(base_url(card) or "", False, "models")
    except UpstreamError:
        return False
    return True


class Relay:
    """Connections to upstreams, kept open between calls. Made and used on one event loop."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        # By whether their connections are kept.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        # Servers that reject `stream_options`, by their base URLs.
        self._rejects_include_usage: set[str | None] = set()

    async def send(self, card: Card, call: Call, path: str = "") -> UpstreamResponse:
        """One attempt, at the endpoint of the call's protocol or at `path`.

        A call that is made again gets a new connection: others that were kept may be dead as well. Raises
        UpstreamError where no answer came that a client can read, or a stream broke off before it showed anything.
        """
        limit_s = self.timeouts.first_token_s if call.stream else self.timeouts.total_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._send(card, call, PROTOCOLS[call.api], path)
        except TimeoutError:
            raise late(card) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _broken(card, error) from None

    async def aclose(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()

    async def _send(self, card: Card, call: Call, protocol: WireProtocol, path: str) -> UpstreamResponse:
        asks = call.stream and protocol.supports_include_usage and base_url(card) not in self._rejects_include_usage
        answer = await self._send_once(card, call, protocol, path, asks and card.provider not in _REPORT_USAGE_UNASKED)
        if asks and _rejects_stream_options(answer):
            self._rejects_include_usage.add(base_url(card))
            if call.wants_usage:
                return answer
            answer = await self._send_once(card, call, protocol, path, asks_for_usage=False)
        return answer

    async def _send_once(
        self, card: Card, call: Call, protocol: WireProtocol, path: str, asks_for_usage: bool
    ) -> UpstreamResponse:
        key = api_key(card)
        payload = _payload(card, call, asks_for_usage)
        session = self._session(keeps=not call.fresh_connection)
        response = await self._post(session, card, path or protocol.path, payload, _headers(card, key, call))
        async with contextlib.AsyncExitStack() as on_the_way_out:
            on_the_way_out.callback(response.close)
            status, passed = response.status, passed_back(response.headers)
            if not 200 <= status < 600:
                raise UpstreamError(f'the upstream of the card "{card.id}" answered with the odd status {status}')
            if not call.stream or status >= 300:
                body = await _read_whole(card, response, self.timeouts.idle_s)
                return _whole(card, key, status, passed, body, call.decode)
            if not _is_event_stream(passed):
                raise UpstreamError(
                    f'the upstream of the card "{card.id}" answered with no event stream', 502, "garbage"
                )
            source = _source(card, key, response)
            stream = EventStream(source, protocol, self.timeouts, keep_usage=call.wants_usage, decode=call.decode)
            await stream.start()
            on_the_way_out.pop_all()
            return UpstreamResponse(card, status, passed, stream)

    def _session(self, keeps: bool) -> aiohttp.ClientSession:
        if keeps not in self._sessions:
            self._sessions[keeps] = _session(keeps)
        return self._sessions[keeps]

    async def _post(
        self, session: aiohttp.ClientSession, card: Card, path: str, payload: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        url = base_url(card)
        if url is None:
            raise UpstreamError(f'the card "{card.id}" states no base_url')
        endpoint = _endpoint(url, card.provider in _PATH_OFTEN_OMITTED, path)
        # aiohttp warns of sending much at once, which would keep other calls waiting.
        body = payload if len(payload) < _SENT_AT_ONCE_BYTES else io.BytesIO(payload)
        # Streams and whole answers have their own limits.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect_s)
        return await session.post(endpoint, data=body, headers=headers, allow_redirects=False, timeout=timeout)


def _session(keeps: bool) -> aiohttp.ClientSession:
    kept = {"keepalive_timeout": _KEEP_ALIVE_S} if keeps else {"force_close": True}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, **kept),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=_READ_BUFFER_BYTES,
    )


def _forwarded_body(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """`body` with the upstream's name for the model, and without the fields that are for the gateway."""
    forwarded = {**body, "model": model}
    for field in _NEVER_FORWARDED:
        forwarded.pop(field, None)
    metadata = forwarded.get("metadata")
    if isinstance(metadata, Mapping) and _OWN_METADATA in metadata:
        others = {key: value for key, value in metadata.items() if key != _OWN_METADATA}
        forwarded["metadata"] = others
        if not others:
            del forwarded["metadata"]
    return forwarded


def _payload(card: Card, call: Call, asks_for_usage: bool) -> bytes:
    body = _forwarded_body(call.body, card.model)
    if asks_for_usage:
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
    return json_bytes(body)


def _rejects_stream_options(answer: UpstreamResponse) -> bool:
    return answer.status in (400, 422) and isinstance(answer.body, bytes) and b"stream_options" in answer.body


def _headers(card: Card, key: str | None, call: Call) -> dict[str, str]:
    sent = {name: value for name in _FORWARDED if (value := call.headers.get(name, "")) and value.isascii()}
    sent |= {
        "accept": "*/*",
        # Bytes pass through as they come, and not every client understands compressed ones.
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"pulvinar/{__version__}",
    }
    if call.api == "messages":
        sent.setdefault("anthropic-version", _ANTHROPIC_VERSION)
    if key is not None:
        name, value = ("x-api-key", key) if card.provider == "anthropic" else ("authorization", f"Bearer {key}")
        sent[name] = value
    return sent


def _source(card: Card, key: str | None, response: aiohttp.ClientResponse) -> Source:
    async def read() -> bytes:
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(card, error) from None

    async def close() -> None:
        response.close()

    return Source(card.id, read, close, lambda words: redacted(words.encode(), key, base_url(card)).decode())


async def _read_whole(card: Card, response: aiohttp.ClientResponse, idle_s: float) -> bytes:
    """The body. What its length says is believed only where it is too long."""
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_ANSWER_BYTES and (response.content_length or 0) <= MAX_ANSWER_BYTES:
        async with asyncio.timeout(idle_s):
            piece = await response.content.readany()
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    raise UpstreamError(f'the upstream of the card "{card.id}" sent too large an answer', 502, "too_large")


def _broken(card: Card, error: Exception) -> UpstreamError:
    _LOG.warning("%s: %s", card.id, type(error).__name__)
    return unreachable(card)


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _whole(
    card: Card, key: str | None, status: int, headers: dict[str, str], body: bytes, decode: bool
) -> UpstreamResponse:
    if status >= 300:
        return _refusal(card, key, status, headers, body)
    decoded = json_or_none(body) if decode else None
    summary = _summary_of(decoded) if decode else _summary_in(body)
    if summary is None:
        raise UpstreamError(f'the upstream of the card "{card.id}" answered with no JSON object', 502, "garbage")
    if summary.error:
        code = summary.error.get("code") if isinstance(summary.error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return _refusal(card, key, status, headers, body)
    if bytes(summary.choices).translate(None, _BLANKS) == b"[]":
        raise UpstreamError(f'the upstream of the card "{card.id}" answered without `choices`', 502, "empty")
    usage = usage_in({"usage": summary.usage})
    return UpstreamResponse(card, status, {**headers, "content-type": "application/json"}, body, usage, decoded)


def _summary_in(body: bytes) -> _Summary | None:
    try:
        return _SUMMARY.decode(body.decode())
    except msgspec.DecodeError:
        # Half of a surrogate pair, which msgspec rejects, is no reason to lose an answer.
        return _summary_of(json_or_none(body))
    except (ValueError, RecursionError):
        return None


def _summary_of(decoded: Any) -> _Summary | None:
    if not isinstance(decoded, dict):
        return None
    choices = msgspec.Raw(b"[]" if decoded.get("choices") == [] else b"")
    return _Summary(decoded.get("usage"), decoded.get("error"), choices)


def _refusal(card: Card, key: str | None, status: int, headers: dict[str, str], body: bytes) -> UpstreamResponse:
    _LOG.warning("%s: HTTP %d", card.id, status)
    if status < 400:
        raise UpstreamError(f'the upstream of the card "{card.id}" answered with a redirect')
    if status in (401, 403):
        return UpstreamResponse(card, status, headers, b"")
    return UpstreamResponse(card, status, headers, redacted(body, key, base_url(card)))


@functools.lru_cache(maxsize=4096)
def _endpoint(base: str, path_omitted: bool, name: str) -> URL:
    try:
        url = URL(base)
        usable = bool(url.host) and (url.port or 0) <= 65535
    except ValueError:
        usable = False
    if not usable:
        raise UpstreamError("the base_url of a card is not a URL")
    path = url.raw_path.rstrip("/") or ("/v1" if path_omitted else "")
    return url.with_path(f"{path}/{name}", encoded=True, keep_query=True)
