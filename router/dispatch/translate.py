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
from router.dispatch.answer import Answer, Stream, Timeouts, late, passed_back, redacted, unreachable
from router.dispatch.body import encode
from router.dispatch.providers import api_key, has_ambient_credentials
from router.errors import UpstreamError

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
        "stream_options",
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
_FORWARDED = ("anthropic-beta", "anthropic-version")


class Translator:
    """Calls that litellm translates from the OpenAI protocol and back."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._litellm: Any = None

    async def send(self, card: Card, body: Mapping[str, Any], stream: bool, headers: Mapping[str, str]) -> Answer:
        """One attempt, answered in OpenAI's shapes. Raises UpstreamError where no HTTP answer came."""
        litellm = self._litellm = self._litellm or await asyncio.to_thread(_load)
        if card.provider not in litellm.provider_list:
            raise UpstreamError(f'the card "{card.id}" names the provider "{card.provider}", which nothing here speaks')
        key = api_key(card)
        fields = {name: value for name, value in body.items() if name in _FIELDS}
        extra = {name: headers[name] for name in _FORWARDED if name in headers and card.provider == "anthropic"}
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                response = await litellm.acompletion(
                    **fields,
                    model=f"{card.provider}/{card.model}",
                    stream=stream,
                    api_key=key or _no_key(card),
                    api_base=card.base_url,
                    extra_headers=extra or None,
                    timeout=self._timeouts.first_byte_s,
                    max_retries=0,
                    num_retries=0,
                )
        except TimeoutError:
            raise late(card) from None
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            return _refusal(litellm, card, key, error)
        if not stream:
            answered = encode(response.model_dump(exclude_unset=True, warnings=False))
            return Answer(card, 200, {"content-type": "application/json"}, answered)
        asked_for_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = _events(litellm, card, key, response, asked_for_usage)
        async with contextlib.AsyncExitStack() as on_the_way_out:
            upstream = Stream(card, chunks, lambda: _close(chunks, response), self._timeouts)
            on_the_way_out.push_async_callback(upstream.aclose)
            await upstream.start()
            on_the_way_out.pop_all()
        return Answer(card, 200, {"content-type": "text/event-stream"}, upstream)

    async def aclose(self) -> None:
        if self._litellm is not None:
            await self._litellm.close_litellm_async_clients()


def _no_key(card: Card) -> str | None:
    # Given none, litellm takes the provider's usual key from the environment and sends it to whatever base_url says.
    return "none" if card.base_url and not has_ambient_credentials(card) else None


def _load() -> Any:
    settings.prepare_litellm()
    import litellm

    litellm.telemetry = False
    litellm.drop_params = False
    litellm.suppress_debug_info = True
    litellm.disable_aiohttp_transport = True
    return litellm


async def _events(litellm: Any, card: Card, key: str | None, response: Any, usage: bool) -> AsyncIterator[bytes]:
    try:
        async for chunk in response:
            event = chunk.model_dump(exclude_unset=True, exclude_none=True, warnings=False)
            if "usage" in event and not any(_says_something(choice) for choice in event["choices"]):
                if not usage:
                    continue
                event["choices"] = []
            for choice in event["choices"]:
                choice.setdefault("finish_reason", None)
            yield b"data: " + encode(event) + b"\n\n"
    except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
        refusal = _refusal(litellm, card, key, error)
        message = f'the upstream of the card "{card.id}" broke off (HTTP {refusal.status})'
        raise UpstreamError(message, refusal.status) from None
    yield b"data: [DONE]\n\n"


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


def _refusal(litellm: Any, card: Card, key: str | None, error: Any) -> Answer:
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
        return Answer(card, status, passed, b"")
    words = redacted(str(getattr(error, "message", error)).encode("utf-8", "replace"), key, card.base_url)
    shape = {"message": words.decode(), "type": "upstream_error", "param": None, "code": str(status)}
    return Answer(card, status, passed, msgspec.json.encode({"error": shape}))
