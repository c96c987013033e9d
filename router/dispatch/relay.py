"""OpenAI-compatible upstreams: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec

from router import __version__
from router.cards.schema import Card
from router.dispatch.answer import Answer, Stream, Timeouts, late, passed_back, redacted, unreachable
from router.dispatch.body import encode, for_upstream
from router.dispatch.providers import api_key, base_url, is_relayed
from router.errors import UpstreamError

_LOG = logging.getLogger(__name__)

# Servers whose documentation names them without the path that their OpenAI protocol lives under.
_PATH_OFTEN_OMITTED = frozenset({"hosted_vllm", "llamafile", "lm_studio", "ollama", "ollama_chat", "vllm"})
_FORWARDED = frozenset(
    {"anthropic-beta", "anthropic-version", "idempotency-key", "openai-beta", "traceparent", "tracestate"}
)
# Servers run by uvicorn, vLLM among them, hang up after 5 idle seconds; a call must not meet them doing so.
_KEEP_ALIVE_S = 4.0


class _Object(msgspec.Struct):
    """Any JSON object; what it holds is checked and skipped."""


_OBJECT = msgspec.json.Decoder(_Object)


def models_url(card: Card) -> str | None:
    """Where a relayed card's upstream lists its models; None where that is not known."""
    base = base_url(card)
    if base is None or not is_relayed(card):
        return None
    try:
        return str(_endpoint(base, card.provider in _PATH_OFTEN_OMITTED, "models"))
    except UpstreamError:
        return None


class Relay:
    """Connections to OpenAI-compatible upstreams, kept open between calls."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        # Reading has two limits, which `Stream` and `send` keep; httpx knows only one.
        limits = httpx.Timeout(None, connect=timeouts.connect_s, write=timeouts.idle_s)
        self._extensions = {"timeout": limits.as_dict()}
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=_KEEP_ALIVE_S),
        )

    async def send(self, card: Card, body: Mapping[str, Any], stream: bool, headers: Mapping[str, str]) -> Answer:
        """One attempt. Raises UpstreamError where no answer came that a client can read, or no byte of a stream."""
        key = api_key(card)
        request = self._request(card, key, body, headers)
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                response = await self._client.send(request, stream=True)
        except (TimeoutError, httpx.TimeoutException):
            raise late(card) from None
        except httpx.HTTPError as error:
            _LOG.warning("%s: %s: %s", card.id, type(error).__name__, error)
            raise unreachable(card) from None
        async with contextlib.AsyncExitStack() as on_the_way_out:
            upstream = Stream(card, _chunks(card, response), response.aclose, self._timeouts)
            on_the_way_out.push_async_callback(upstream.aclose)
            status, passed = response.status_code, passed_back(response.headers)
            if not 200 <= status < 600:
                raise UpstreamError(f'the upstream of the card "{card.id}" answered with the odd status {status}')
            if stream and status < 300:
                if not _is_event_stream(passed):
                    raise UpstreamError(f'the upstream of the card "{card.id}" answered with no event stream')
                await upstream.start()
                on_the_way_out.pop_all()
                return Answer(card, status, passed, upstream)
            answered = await upstream.whole()
        if status < 300:
            if not _is_object(answered):
                raise UpstreamError(f'the upstream of the card "{card.id}" answered with no JSON object')
            return Answer(card, status, passed, answered)
        return _refusal(card, key, status, passed, answered)

    async def aclose(self) -> None:
        await self._client.aclose()

    def _request(
        self, card: Card, key: str | None, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> httpx.Request:
        url = base_url(card)
        if url is None:
            raise UpstreamError(f'the card "{card.id}" states no base_url')
        sent = {name: headers[name] for name in _FORWARDED if name in headers}
        sent |= {
            "accept": "*/*",
            # Bytes pass through as they come, and not every client understands compressed ones.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": f"pulvinar/{__version__}",
        }
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        return httpx.Request(
            "POST",
            _endpoint(url, card.provider in _PATH_OFTEN_OMITTED, "chat/completions"),
            headers=sent,
            content=encode(for_upstream(body, card.model)),
            extensions=self._extensions,
        )


async def _chunks(card: Card, response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except httpx.HTTPError as error:
        _LOG.warning("%s: %s: %s", card.id, type(error).__name__, error)
        raise unreachable(card) from None


def _is_event_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _is_object(answered: bytes) -> bool:
    try:
        _OBJECT.decode(answered.decode())
    except (ValueError, RecursionError):
        # The escape of half a surrogate pair, which msgspec refuses, is no reason to lose an answer.
        try:
            return isinstance(json.loads(answered), dict)
        except (ValueError, RecursionError):
            return False
    return True


def _refusal(card: Card, key: str | None, status: int, headers: dict[str, str], answered: bytes) -> Answer:
    _LOG.warning("%s: HTTP %d", card.id, status)
    if status < 400:
        raise UpstreamError(f'the upstream of the card "{card.id}" answered with a redirect')
    if status in (401, 403):
        return Answer(card, status, headers, b"")
    return Answer(card, status, headers, redacted(answered, key, base_url(card)))


@functools.lru_cache(maxsize=4096)
def _endpoint(base: str, path_omitted: bool, name: str) -> httpx.URL:
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL:
        url = httpx.URL()
    if not url.host or (url.port or 0) > 65535:
        raise UpstreamError("the base_url of a card is not a URL")
    path = url.path.rstrip("/") or ("/v1" if path_omitted else "")
    return url.copy_with(path=f"{path}/{name}")
