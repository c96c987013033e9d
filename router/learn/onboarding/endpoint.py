"""The live endpoint of one card: complete answers, with their latency and usage, and with retries."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.response import retry_after_s
from router.dispatch.stream import Events
from router.errors import UpstreamError

_RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_ATTEMPTS = 4
_MAX_WAIT_S = 90.0


class Reply(Struct, frozen=True):
    """An answer of the model. Tokens are None where the endpoint did not report them; `cut_off` is whether the answer
    ended at the token limit.
    """

    text: str
    latency_ms: float
    ttft_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cut_off: bool = False


class Endpoint:
    """Sends requests to one card, at temperature 0, and retries where the endpoint is busy.

    A field that the endpoint rejects (`stream`, `max_tokens`, `temperature`) is omitted from then on.
    """

    def __init__(
        self,
        card: Card,
        dispatcher: Dispatcher,
        max_tokens: int,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._card, self._dispatcher, self._wait = card, dispatcher, wait
        self._fields: dict[str, Any] = {
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        self._has_streamed = False

    async def ask(self, messages: Sequence[Mapping[str, Any]], may_retry: Callable[[], bool] = lambda: True) -> Reply:
        """The answer to `messages`. Raises UpstreamError where there is none after several attempts.

        `may_retry` is called after an interrupted call, which may have been charged.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            fields = dict(self._fields)
            try:
                answer, reply = await self._call(messages, fields)
            except UpstreamError:
                allowed = may_retry()
                if attempt == _ATTEMPTS or not allowed:
                    raise
                if fields["stream"] and not self._has_streamed:
                    # This server may not support streaming.
                    self._omit("stream")
                await self._wait(_pause_s({}, attempt))
                continue
            if reply is not None:
                return reply
            if answer.status in (400, 422) and (self._fields != fields or self._omit_rejected(_words(answer))):
                continue
            if answer.status not in _RETRIED_STATUSES or attempt == _ATTEMPTS:
                raise UpstreamError(_refusal(answer), answer.status)
            pause_s = _pause_s(answer.headers, attempt)
            if pause_s > _MAX_WAIT_S:
                raise UpstreamError(f"{_refusal(answer)}; it asks to retry in {pause_s:.0f} s", answer.status)
            await self._wait(pause_s)
        raise UpstreamError(f'the upstream of the card "{self._card.id}" rejects every form of the request', 400)

    async def _call(
        self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]
    ) -> tuple[UpstreamResponse, Reply | None]:
        """Make one call; no reply where the endpoint answered with an error."""
        body = {"model": self._card.id, "messages": list(messages), **fields}
        start = time.perf_counter()
        answer = await self._dispatcher.send(self._card, Call("chat", body, fields["stream"]))
        if answer.status >= 400:
            return answer, None
        if isinstance(answer.body, bytes):
            return answer, _whole_reply(self._card, answer.body, _since(start))
        async with contextlib.aclosing(answer.body):
            reply = await _streamed_reply(self._card, answer.body, start)
        self._has_streamed = True
        return answer, reply

    def _omit_rejected(self, words: str) -> bool:
        """Omit a field that the endpoint's error names. False where it names none that is still sent."""
        for field in ("stream_options", "max_tokens", "temperature", "stream"):
            if re.search(rf"\b{field}\b", words) and field in self._fields and self._fields[field] is not False:
                self._omit(field)
                return True
        return False

    def _omit(self, field: str) -> None:
        if field == "stream":
            self._fields["stream"] = False
            self._fields.pop("stream_options", None)
            return
        value = self._fields.pop(field, None)
        if field == "max_tokens":
            self._fields["max_completion_tokens"] = value


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)


def _pause_s(headers: Mapping[str, str], attempt: int) -> float:
    """The wait that the upstream asks for, else one second, then two, then four."""
    asked_s = retry_after_s(headers)
    return float(2 ** (attempt - 1)) if asked_s is None else asked_s


def _words(answer: UpstreamResponse) -> str:
    """The error message of the upstream."""
    assert isinstance(answer.body, bytes)
    try:
        said = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):
        return answer.body.decode("utf-8", "replace")
    error = said.get("error", said) if isinstance(said, dict) else said
    if isinstance(error, dict):
        return str(error.get("message") or error.get("detail") or error)
    return str(error)


def _refusal(answer: UpstreamResponse) -> str:
    status = f'the upstream of the card "{answer.card.id}" answered HTTP {answer.status}'
    if answer.status in (401, 403):
        return f"{status}: it rejects the API key"
    words = " ".join(_words(answer).split())[:300]
    return f"{status}: {words}" if words else status


def _whole_reply(card: Card, body: bytes, latency_ms: float) -> Reply:
    said = _decoded(body)
    choice = _first_choice(said)
    if choice is None:
        raise UpstreamError(f'the upstream of the card "{card.id}" answered without `choices`')
    message = choice.get("message")
    text = _text(message.get("content")) if isinstance(message, dict) else ""
    return Reply(text, latency_ms, None, *_usage(said), choice.get("finish_reason") == "length")


async def _streamed_reply(card: Card, stream: Events, start: float) -> Reply:
    """The reply in server-sent events. Raises UpstreamError where they tell of an error, or end too early."""
    text: list[str] = []
    ttft_ms: float | None = None
    usage: tuple[int | None, int | None] = (None, None)
    ended = cut_off = False
    left = b""
    async for chunk in stream:
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == b"[DONE]":
                ended = True
                continue
            event = _decoded(payload)
            if event.get("error"):
                raise UpstreamError(f'the upstream of the card "{card.id}" broke off with an error')
            usage = _usage(event) if isinstance(event.get("usage"), dict) else usage
            choice = _first_choice(event)
            if choice is None:
                continue
            delta = choice.get("delta")
            delta = delta if isinstance(delta, dict) else {}
            text.append(_text(delta.get("content")))
            if ttft_ms is None and (text[-1] or delta.get("reasoning_content") or delta.get("reasoning")):
                ttft_ms = _since(start)
            if choice.get("finish_reason"):
                ended, cut_off = True, choice["finish_reason"] == "length"
    if not ended:
        raise UpstreamError(f'the upstream of the card "{card.id}" broke off in the middle of its answer')
    return Reply("".join(text), _since(start), ttft_ms, *usage, cut_off)


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _first_choice(said: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = said.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _text(content: Any) -> str:
    """The text of a message's content, which some servers split into parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _usage(said: Mapping[str, Any]) -> tuple[int | None, int | None]:
    usage = said.get("usage")
    if not isinstance(usage, dict):
        return None, None
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    read = [
        count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None for count in counts
    ]
    return read[0], read[1]
