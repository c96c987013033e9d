"""Calls through litellm, for providers whose protocol Pulvinar does not support itself.

No other module imports litellm, and this one does so in the background, at `preload` or at the first such call:
importing takes seconds and 200 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from typing import Any

import httpx
import msgspec

from router import settings
from router.cards.schema import Card
from router.dispatch.bodies.arrival import ARRIVED, Arrived, Chunks
from router.dispatch.bodies.litellm_transport import CheckedTransport, proxy_mounts
from router.dispatch.bodies.redaction import one_line, redacted
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.call import Call
from router.dispatch.connection.egress import extra_headers, secrets_of
from router.dispatch.connection.fetching import with_media
from router.dispatch.connection.litellm_clients import close_clients, forget_clients_of_earlier_loops, without_logs
from router.dispatch.failover import log_refusal
from router.dispatch.providers import api_key, has_ambient_credentials
from router.dispatch.response import UpstreamResponse, disconnected, late, passed_back, unreachable
from router.dispatch.stream import EventStream, Source
from router.errors import FieldError, UpstreamError
from router.formats.json import json_bytes
from router.garbage import search_paused
from router.wire.dialect import Dialect
from router.wire.dialect.fields import fit_fields
from router.wire.errors import ReportedError, fault_of
from router.wire.protocols import CHAT
from router.wire.sse import DONE, data
from router.wire.usage import usage_in

_LOG = logging.getLogger(__name__)
# To import litellm in two threads at once gives one of them a module that is not complete.
_IMPORTING = threading.Lock()

# litellm accepts many parameters that would redirect a call, read a file or use another account (`aws_sts_endpoint`,
# `vertex_credentials` …), and every release adds some. So only these fields are passed to it.
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
# These providers report the usage last. Without it the stream was cut, and litellm invented its end.
_USAGE_LAST_PROVIDERS = frozenset({"anthropic"})
_FORWARDED = ("anthropic-beta", "anthropic-version")
_HEADER_PREFIX = "llm_provider-"
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "litellm")

# What litellm adds to its own errors concerns the settings of its users, which the gateway's clients cannot change.
_ADVICE = re.compile(r"(?i)[,.]?\s{0,4}(?:to drop (?:these|it)|if you want to use these params)\b.*", re.DOTALL)


class LitellmClient:
    """Makes calls that litellm converts from the OpenAI protocol and back."""

    def __init__(
        self, timeouts: Timeouts, forward_headers: tuple[str, ...] = (), fetch_hosts: tuple[str, ...] = ()
    ) -> None:
        self.timeouts, self.forward_headers, self.fetch_hosts = timeouts, forward_headers, fetch_hosts
        self._litellm: Any = None
        self._loading: Future[Any] | None = None

    def preload(self) -> None:
        """Begin to import litellm in the background, so that the first call need not wait for it."""
        if self._loading is None:
            self._loading = Future()
            # A process that ends meanwhile does not wait for a daemon.
            threading.Thread(target=_load_into, args=(self._loading,), name="litellm-import", daemon=True).start()

    async def send(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt at a chat call. The response has OpenAI's format. Raises UpstreamError where there is none."""
        litellm = await self._ready(card)
        key = api_key(card)
        allowed = {name: value for name, value in call.body.items() if name in _FIELDS}
        allowed["messages"] = await with_media(allowed.get("messages"), card.provider, self.fetch_hosts)
        fields, changed = fit_fields(allowed, _known_dialect(litellm, card, allowed))
        if call.stream:
            fields["stream_options"] = {"include_usage": True}
        # Everything below litellm runs in this context, or in a copy of it.
        arrived = Arrived()
        ARRIVED.set(arrived)
        try:
            return await self._answered(litellm, card, key, call, fields, tuple(changed), arrived)
        except UpstreamError as error:
            error.delivered_tokens = error.delivered_tokens or arrived.tokens
            raise

    async def _answered(
        self,
        litellm: Any,
        card: Card,
        key: str | None,
        call: Call,
        fields: Mapping[str, Any],
        changed: tuple[str, ...],
        arrived: Arrived,
    ) -> UpstreamResponse:
        limit_s = call.answer_limit_s(self.timeouts)
        try:
            async with asyncio.timeout(limit_s):
                response = await litellm.acompletion(
                    **fields,
                    model=f"{card.provider}/{card.model}",
                    stream=call.stream,
                    api_key=key or _placeholder_key(card),
                    api_base=_api_base(card),
                    extra_headers=_forwarded(card, call) or None,
                    # litellm keeps a client with its connections for every value, so it is always the same one.
                    timeout=self.timeouts.total_s,
                    max_retries=0,
                    num_retries=0,
                    # MCP tools are called by the model's provider, never by this process; litellm's handler for them
                    # needs another package.
                    _skip_mcp_handler=True,
                )
        except TimeoutError:
            raise late(card) from None
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            failed = _error_response(litellm, card, key, error, self.forward_headers)
            if arrived.tokens:
                # The upstream's answer was a success, which litellm cannot read.
                raise UpstreamError(f'the response of the card "{card.id}" cannot be read', 502, "garbage") from None
            return failed
        if not call.stream:
            whole = _whole(card, response, self._passed_back(response))
            return msgspec.structs.replace(whole, changed=changed)
        chunks = Chunks(_events(litellm, card, key, response))

        async def close() -> None:
            try:
                await chunks.aclose()
                await response.aclose()
            finally:
                # litellm stops at the last event, and leaves the connection to the garbage collector.
                if arrived.answer is not None:
                    await arrived.answer.aclose()

        source = Source(card.id, chunks.read, close, arrived=lambda: arrived.tokens)
        stream = EventStream(source, CHAT, call.limits(self.timeouts), keep_usage=call.wants_usage, decode=call.decode)
        async with contextlib.AsyncExitStack() as cleanup:
            cleanup.push_async_callback(stream.aclose)
            await stream.start()
            cleanup.pop_all()
        headers = {**self._passed_back(response), "content-type": "text/event-stream"}
        return UpstreamResponse(card, 200, headers, stream, changed=changed)

    async def embed(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt at an embeddings call. Raises UpstreamError where there is no HTTP response."""
        litellm = await self._ready(card)
        key = api_key(card)
        fields = {name: value for name, value in call.body.items() if name in _EMBEDDING_FIELDS}
        try:
            async with asyncio.timeout(call.answer_limit_s(self.timeouts)):
                response = await litellm.aembedding(
                    **fields,
                    model=f"{card.provider}/{card.model}",
                    api_key=key or _placeholder_key(card),
                    api_base=card.base_url,
                    extra_headers=extra_headers(card) or None,
                    max_retries=0,
                )
        except TimeoutError:
            raise late(card) from None
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            return _error_response(litellm, card, key, error, self.forward_headers)
        return _whole(card, response, self._passed_back(response))

    def _passed_back(self, response: Any) -> dict[str, str]:
        """The headers of the upstream's response that clients get, which litellm keeps under names of its own."""
        kept = (getattr(response, "_hidden_params", None) or {}).get("additional_headers") or {}
        headers = {str(name).removeprefix(_HEADER_PREFIX): str(value) for name, value in kept.items()}
        return passed_back(headers, self.forward_headers) if self.forward_headers else {}

    async def _ready(self, card: Card) -> Any:
        self.preload()
        assert self._loading is not None
        # The import goes on for other calls where this one is cancelled.
        litellm = self._litellm = self._litellm or await asyncio.shield(asyncio.wrap_future(self._loading))
        if card.provider not in litellm.provider_list:
            raise UpstreamError(f'the provider "{card.provider}" of the card "{card.id}" is not supported')
        forget_clients_of_earlier_loops(litellm)
        return litellm

    async def aclose(self) -> None:
        """Close every connection of this event loop."""
        if self._litellm is not None:
            await close_clients(self._litellm)


def _known_dialect(litellm: Any, card: Card, fields: Mapping[str, Any]) -> Dialect:
    """The fields that litellm converts for the card's model; it raises for others, with advice for its own users."""
    supported = litellm.get_supported_openai_params(model=card.model, custom_llm_provider=card.provider)
    if supported is None:
        return Dialect()
    checked = litellm.constants.DEFAULT_CHAT_COMPLETION_PARAM_VALUES
    passed = frozenset(name for name in _FIELDS if name in supported or name not in checked)
    return Dialect(
        name=f"the provider {card.provider}",
        accepts=passed,
        output_limit="max_completion_tokens" if "max_completion_tokens" in fields else "max_tokens",
    )


def _whole(card: Card, response: Any, headers: Mapping[str, str]) -> UpstreamResponse:
    decoded = response.model_dump(exclude_unset=True, warnings=False)
    headers = {**headers, "content-type": "application/json"}
    return UpstreamResponse(card, 200, headers, json_bytes(decoded), usage_in(decoded), decoded)


def _api_base(card: Card) -> str | None:
    if card.base_url and card.provider == "anthropic":
        # litellm adds this path itself.
        return card.base_url.rstrip("/").removesuffix("/v1")
    return card.base_url


def _forwarded(card: Card, call: Call) -> dict[str, str]:
    forwarded = {
        name: call.headers[name] for name in _FORWARDED if name in call.headers and card.provider == "anthropic"
    }
    return forwarded | extra_headers(card)


def _placeholder_key(card: Card) -> str | None:
    # Without a key, litellm would take the provider's default key from the environment and send it to any base_url.
    return "none" if card.base_url and not has_ambient_credentials(card) else None


def _load_into(loading: Future[Any]) -> None:
    with _IMPORTING, search_paused("litellm"):
        try:
            litellm = _load()
            gc.freeze()
        except Exception as error:  # noqa: BLE001 - the outermost edge of a thread: the calls that wait raise it
            loading.set_exception(error)
        else:
            loading.set_result(litellm)


def _load() -> Any:
    settings.prepare_litellm()
    import litellm
    from litellm.litellm_core_utils.litellm_logging import Logging
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

    AsyncHTTPHandler._create_httpx_transport = staticmethod(CheckedTransport)
    AsyncHTTPHandler.create_httpx_proxy_mounts = staticmethod(proxy_mounts)
    AsyncHTTPHandler._create_httpx_proxy_mounts = staticmethod(proxy_mounts)
    without_logs(Logging)
    # They quote requests and their URLs, line breaks included.
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    litellm.telemetry = False
    litellm.drop_params = False
    # Most providers accept more than the four that OpenAI does.
    litellm.disable_stop_sequence_limit = True
    litellm.suppress_debug_info = True
    litellm.disable_aiohttp_transport = True
    return litellm


async def _events(litellm: Any, card: Card, key: str | None, chunks: Any) -> AsyncIterator[bytes]:
    usage_reported = False
    held_back: list[bytes] = []
    try:
        async for chunk in chunks:
            event = chunk.model_dump(exclude_unset=True, exclude_none=True, warnings=False)
            if "usage" in event and not any(_has_content(choice) for choice in event["choices"]):
                event["choices"] = []
            usage_reported = usage_reported or "usage" in event
            for choice in event["choices"]:
                choice.setdefault("finish_reason", None)
            encoded = data(event)
            if held_back or _is_finish(event):
                # litellm may have invented this end, which only the end of the connection shows.
                held_back.append(encoded)
            else:
                yield encoded
    except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
        response = _error_response(litellm, card, key, error)
        # litellm's word for an event that it cannot read is 500, which clients would take for ours.
        status = 502 if response.status == 500 else response.status
        message = f'the upstream of the card "{card.id}" broke off the stream (HTTP {status})'
        if response.fault is not None and response.fault.kind != "server":
            raise ReportedError(message, response.fault) from None
        raise UpstreamError(message, status, "cut") from None
    if not usage_reported and card.provider in _USAGE_LAST_PROVIDERS:
        raise UpstreamError(f'the upstream of the card "{card.id}" ended the stream before it was complete', 502, "cut")
    yield b"".join(held_back) + DONE


def _is_finish(event: Mapping[str, Any]) -> bool:
    choices = event["choices"]
    return bool(choices) and all(not choice.get("delta") and choice["finish_reason"] is not None for choice in choices)


def _has_content(choice: Mapping[str, Any]) -> bool:
    return bool(choice.get("delta")) or choice.get("finish_reason") is not None


def _transport_error(error: BaseException | None) -> httpx.TransportError | None:
    # litellm reports some failed connections as status 500; their cause is still chained to its exception.
    while error is not None and not isinstance(error, httpx.TransportError):
        error = error.__cause__ or error.__context__
    return error


def _has_no_encoding(error: BaseException | None) -> bool:
    # litellm reports a text of the client that cannot be sent as status 500.
    while error is not None and not isinstance(error, UnicodeEncodeError):
        error = error.__cause__ or error.__context__
    return error is not None


def _error_response(
    litellm: Any, card: Card, key: str | None, error: Any, patterns: tuple[str, ...] = ()
) -> UpstreamResponse:
    """The HTTP response behind litellm's exception. Raises UpstreamError where there was none."""
    secrets = secrets_of(card, key)
    text = redacted(str(error).encode("utf-8", "replace"), secrets, None).decode()
    _LOG.warning("%s: %s: %s", card.id, type(error).__name__, one_line(text))
    if isinstance(error, litellm.Timeout):
        raise late(card) from None
    broken = _transport_error(error)
    if isinstance(error, litellm.APIConnectionError) or broken is not None:
        raise (unreachable(card) if isinstance(broken, httpx.ConnectError) else disconnected(card)) from None
    if _has_no_encoding(error):
        raise FieldError("messages", "contains half of a character (a lone surrogate), which UTF-8 does not have")
    status = int(getattr(error, "status_code", None) or 500)
    if not 400 <= status < 600:
        raise UpstreamError(f'the upstream of the card "{card.id}" sent no usable response (HTTP {status})') from None
    headers = getattr(error, "litellm_response_headers", None) or getattr(
        getattr(error, "response", None), "headers", {}
    )
    passed = {**passed_back(headers, patterns), "content-type": "application/json"}
    text = _ADVICE.sub("", str(getattr(error, "message", error)))
    message = redacted(text.encode("utf-8", "replace"), secrets, card.base_url).decode()
    fault = fault_of(status, message)
    log_refusal(card, fault)
    if status in (401, 403) or status >= 500 or fault.meaning.refusal:
        return UpstreamResponse(card, status, passed, b"", fault=fault)
    details = {"message": fault.details.message or message, "type": "upstream_error", "param": None}
    body = {"error": {**details, "code": str(status)}}
    return UpstreamResponse(card, status, passed, msgspec.json.encode(body), decoded=body, fault=fault)
