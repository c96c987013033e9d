"""Providers with a protocol of their own, through litellm.

Nothing else imports it, and nothing does before the first such call: importing takes seconds and 200 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec

from router import settings
from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.providers import api_key, has_ambient_credentials
from router.dispatch.response import UpstreamResponse, late, passed_back, redacted, unreachable
from router.dispatch.stream import EventStream, Source, Timeouts
from router.errors import UpstreamError
from router.formats.json import json_bytes
from router.wire.protocols import CHAT
from router.wire.usage import usage_in

_LOG = logging.getLogger(__name__)

# litellm takes many names that would redirect a call, read a file or use another account (`aws_sts_endpoint`,
# `vertex_credentials` …), and every release adds some. So only these fields are handed on.
_FIELDS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_EMBEDDING_FIELDS = frozenset({"input", "dimensions", "encoding_format", "user"})
# These providers tell the usage last. Where it is missing, litellm has made the end up.
_ENDS_WITH_USAGE = frozenset({"anthropic"})
_FORWARDED = ("anthropic-beta", "anthropic-version")


# litellm reads an answer whole, and where it is no JSON, searches it for secrets on the event loop: all other requests
# wait for as long as that takes.
_MAX_ANSWER_BYTES = 8 * 1024 * 1024


# litellm gives an Anthropic stream that was cut a clean end; between these two it is not over.
_ANTHROPIC_BEGINS, _ANTHROPIC_ENDS = b"message_start", b"message_stop"


class _Watched(httpx.AsyncHTTPTransport):
    """Breaks answers off that are longer than any is, and says so where a stream was cut."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _WatchedStream(response.stream)
        return response


class _WatchedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left, tail, is_open = _MAX_ANSWER_BYTES, b"", False
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise httpx.ReadError("the answer is too large")
            tail += piece
            is_open = (is_open or _ANTHROPIC_BEGINS in tail) and _ANTHROPIC_ENDS not in tail
            tail = tail[-len(_ANTHROPIC_BEGINS) :]
            yield piece
        if is_open:
            raise httpx.ReadError("the stream was cut")

    async def aclose(self) -> None:
        await self._stream.aclose()


class LitellmClient:
    """Calls that litellm translates from the OpenAI protocol and back."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._litellm: Any = None

    async def send(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt at a chat call, answered in OpenAI's shapes. Raises UpstreamError where no HTTP answer came."""
        litellm = await self._ready(card)
        key = api_key(card)
        fields = {name: value for name, value in call.body.items() if name in _FIELDS}
        if call.stream:
            fields["stream_options"] = {"include_usage": True}
        limit_s = self.timeouts.first_token_s if call.stream else self.timeouts.total_s
        try:
            async with asyncio.timeout(limit_s):
                response = await litellm.acompletion(
                    **fields,
                    model=f"{card.provider}/{card.model}",
                    stream=call.stream,
                    api_key=key or _no_key(card),
                    api_base=_place(card),
                    extra_headers=_forwarded(card, call) or None,
                    timeout=limit_s,
                    max_retries=0,
                    num_retries=0,
                    # Tools of a client's own servers are for the model's provider, never for this process; litellm's
                    # handler for them needs another package.
                    _skip_mcp_handler=True,
                )
        except TimeoutError:
            raise late(card) from None
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            return _refusal(litellm, card, key, error)
        if not call.stream:
            return _whole(card, response)
        chunks = _events(litellm, card, key, response)
        source = Source(card.id, lambda: anext(chunks, b""), lambda: _close(chunks, response))
        stream = EventStream(source, CHAT, self.timeouts, keep_usage=call.wants_usage, decode=call.decode)
        async with contextlib.AsyncExitStack() as on_the_way_out:
            on_the_way_out.push_async_callback(stream.aclose)
            await stream.start()
            on_the_way_out.pop_all()
        return UpstreamResponse(card, 200, {"content-type": "text/event-stream"}, stream)

    async def embed(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt at a call for embeddings. Raises UpstreamError where no HTTP answer came."""
        litellm = await self._ready(card)
        key = api_key(card)
        fields = {name: value for name, value in call.body.items() if name in _EMBEDDING_FIELDS}
        try:
            async with asyncio.timeout(self.timeouts.total_s):
                response = await litellm.aembedding(
                    **fields,
                    model=f"{card.provider}/{card.model}",
                    api_key=key or _no_key(card),
                    api_base=card.base_url,
                    max_retries=0,
                )
        except TimeoutError:
            raise late(card) from None
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            return _refusal(litellm, card, key, error)
        return _whole(card, response)

    async def _ready(self, card: Card) -> Any:
        litellm = self._litellm = self._litellm or await asyncio.to_thread(_load)
        if card.provider not in litellm.provider_list:
            raise UpstreamError(f'the card "{card.id}" names the provider "{card.provider}", which nothing here speaks')
        return litellm

    async def aclose(self) -> None:
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()


def _whole(card: Card, response: Any) -> UpstreamResponse:
    decoded = response.model_dump(exclude_unset=True, warnings=False)
    headers = {"content-type": "application/json"}
    return UpstreamResponse(card, 200, headers, json_bytes(decoded), usage_in(decoded), decoded)


def _place(card: Card) -> str | None:
    # litellm adds the path that the relay expects to be there.
    return (
        card.base_url.rstrip("/").removesuffix("/v1")
        if card.base_url and card.provider == "anthropic"
        else card.base_url
    )


def _forwarded(card: Card, call: Call) -> dict[str, str]:
    return {name: call.headers[name] for name in _FORWARDED if name in call.headers and card.provider == "anthropic"}


def _no_key(card: Card) -> str | None:
    # Given none, litellm takes the provider's usual key from the environment and sends it to whatever base_url says.
    return "none" if card.base_url and not has_ambient_credentials(card) else None


def _load() -> Any:
    settings.prepare_litellm()
    import litellm
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    AsyncHTTPHandler._create_httpx_transport = staticmethod(_Watched)
    litellm.telemetry = False
    litellm.drop_params = False
    litellm.suppress_debug_info = True
    litellm.disable_aiohttp_transport = True
    return litellm


async def _events(litellm: Any, card: Card, key: str | None, response: Any) -> AsyncIterator[bytes]:
    told_usage = False
    last: list[bytes] = []
    try:
        async for chunk in response:
            event = chunk.model_dump(exclude_unset=True, exclude_none=True, warnings=False)
            if "usage" in event and not any(_says_something(choice) for choice in event["choices"]):
                event["choices"] = []
            told_usage = told_usage or "usage" in event
            for choice in event["choices"]:
                choice.setdefault("finish_reason", None)
            said = b"data: " + json_bytes(event) + b"\n\n"
            if last or _only_ends(event):
                # Perhaps litellm made the end up; what follows tells.
                last.append(said)
            else:
                yield said
    except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
        refusal = _refusal(litellm, card, key, error)
        message = f'the upstream of the card "{card.id}" broke off (HTTP {refusal.status})'
        raise UpstreamError(message, refusal.status, "cut") from None
    if not told_usage and card.provider in _ENDS_WITH_USAGE:
        raise UpstreamError(f'the upstream of the card "{card.id}" ended the stream before it was complete', 502, "cut")
    yield b"".join(last) + b"data: [DONE]\n\n"


def _only_ends(event: Mapping[str, Any]) -> bool:
    choices = event["choices"]
    return bool(choices) and all(not choice.get("delta") and choice["finish_reason"] is not None for choice in choices)


def _says_something(choice: Mapping[str, Any]) -> bool:
    return bool(choice.get("delta")) or choice.get("finish_reason") is not None


async def _close(chunks: AsyncIterator[bytes], response: Any) -> None:
    # Some of litellm's iterators, closed, leave their connection open. A read that is cancelled never does.
    reading = asyncio.ensure_future(_read_on(chunks))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await response.aclose()


async def _read_on(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


def _broke_in_transport(error: BaseException | None) -> bool:
    # litellm gives some failed connections the status 500; what it caught is still behind its exception.
    while error is not None and not isinstance(error, httpx.TransportError):
        error = error.__cause__ or error.__context__
    return error is not None


def _refusal(litellm: Any, card: Card, key: str | None, error: Any) -> UpstreamResponse:
    """What litellm raised, as the HTTP answer it came from. Raises UpstreamError where there was none."""
    _LOG.warning("%s: %s: %s", card.id, type(error).__name__, redacted(str(error).encode(), key, None).decode())
    if isinstance(error, litellm.Timeout):
        raise late(card) from None
    if isinstance(error, litellm.APIConnectionError) or _broke_in_transport(error):
        raise unreachable(card) from None
    status = int(getattr(error, "status_code", None) or 500)
    if not 400 <= status < 600:
        raise UpstreamError(f'the upstream of the card "{card.id}" gave no usable answer (HTTP {status})') from None
    headers = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", {}
    )
    passed = {**passed_back(headers), "content-type": "application/json"}
    if status in (401, 403) or status >= 500:
        return UpstreamResponse(card, status, passed, b"")
    words = redacted(str(getattr(error, "message", error)).encode("utf-8", "replace"), key, card.base_url)
    shape = {"message": words.decode(), "type": "upstream_error", "param": None, "code": str(status)}
    return UpstreamResponse(card, status, passed, msgspec.json.encode({"error": shape}))
