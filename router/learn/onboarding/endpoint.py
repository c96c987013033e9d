"""The live endpoint of one card: complete answers, with their latency and usage, and with retries."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from router.cards.schema import Card
from router.dispatch import Call, Dispatcher, EventStream, UpstreamResponse
from router.dispatch.response import error_message, error_text, retry_after_s
from router.errors import UpstreamError
from router.types import Usage
from router.wire.chat.answer import deltas, finish_of, first_choice

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
            if answer.status in (400, 422) and (self._fields != fields or self._omit_rejected(error_message(answer))):
                continue
            if answer.status not in _RETRIED_STATUSES or attempt == _ATTEMPTS:
                raise UpstreamError(error_text(answer), answer.status)
            pause_s = _pause_s(answer.headers, attempt)
            if pause_s > _MAX_WAIT_S:
                raise UpstreamError(f"{error_text(answer)}; it asks to retry in {pause_s:.0f} s", answer.status)
            await self._wait(pause_s)
        raise UpstreamError(f'the upstream of the card "{self._card.id}" rejects every form of the request', 400)

    async def _call(
        self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]
    ) -> tuple[UpstreamResponse, Reply | None]:
        """Make one call; no reply where the endpoint answered with an error."""
        body = {"model": self._card.id, "messages": list(messages), **fields}
        start = time.perf_counter()
        answer = await self._dispatcher.send(self._card, Call("chat", body, fields["stream"], decode=True))
        if answer.status >= 400:
            return answer, None
        if isinstance(answer.body, bytes):
            return answer, _whole_reply(answer, _since(start))
        assert isinstance(answer.body, EventStream)
        async with contextlib.aclosing(answer.body):
            reply = await _streamed_reply(answer.body, start)
        self._has_streamed = True
        return answer, reply

    def _omit_rejected(self, message: str) -> bool:
        """Omit a field that the endpoint's error names. False where it names none that is still sent."""
        for field in ("stream_options", "max_tokens", "temperature", "stream"):
            if re.search(rf"\b{field}\b", message) and field in self._fields and self._fields[field] is not False:
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


def _whole_reply(response: UpstreamResponse, latency_ms: float) -> Reply:
    choice = first_choice(response.decoded)
    if choice is None:
        raise UpstreamError(f'the upstream of the card "{response.card.id}" answered without `choices`')
    finish = finish_of(choice)
    cut_off = finish is not None and finish.reason == "length"
    return Reply(_text(choice.get("message")), latency_ms, None, *_tokens(response.usage), cut_off)


async def _streamed_reply(stream: EventStream, start: float) -> Reply:
    """The reply in server-sent events. Raises UpstreamError where they report an error, or end too early."""
    text: list[str] = []
    ttft_ms: float | None = None
    cut_off = False
    async for _ in stream:
        for chunk in stream.take_decoded():
            choice = first_choice(chunk)
            if choice is None:
                continue
            for delta in deltas(choice.get("delta")):
                ttft_ms = _since(start) if ttft_ms is None else ttft_ms
                if delta.kind == "text":
                    text.append(delta.text)
            finish = finish_of(choice)
            cut_off = cut_off or (finish is not None and finish.reason == "length")
    # A whole answer says nothing about the time to its first token.
    ttft_ms = None if stream.arrived_whole else ttft_ms
    return Reply("".join(text), _since(start), ttft_ms, *_tokens(stream.usage), cut_off)


def _text(message: Any) -> str:
    return "".join(delta.text for delta in deltas(message) if delta.kind == "text")


def _tokens(usage: Usage | None) -> tuple[int | None, int | None]:
    # A count of 0 is one that the upstream left out.
    return (None, None) if usage is None else (usage.input_tokens or None, usage.output_tokens or None)
