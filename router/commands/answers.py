"""A conversation on the command line: route each turn, call the plan as the gateway does, pass on the text."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from router.cards import Card, Catalog
from router.compose.runner import PlanRunner
from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.costs import booked_usage, cost_of
from router.dispatch.providers import native_apis
from router.dispatch.response import error_text
from router.dispatch.stream import Events
from router.errors import UpstreamError
from router.formats.json import json_or_none
from router.formats.units import rounded_ms
from router.pipeline import Routed
from router.types import Api, Attempt, Plan, SinglePlan, Usage
from router.wire.chat.answer import deltas, first_choice
from router.wire.chat.request import ChatRequest
from router.wire.sse import data_of, events_of

Message = Mapping[str, Any]
Show = Callable[[str], None]

# Anthropic requires a limit. Larger ones make some servers reject the request.
_MAX_OUTPUT_TOKENS = 8_192


class Answer(Struct, frozen=True):
    """An answer, the card that wrote it, and the decision that chose the card; None where the user named it.

    `attempts` are the calls in order. `cost_usd` is the cost of `usage`; None where the price is unknown. `total_ms` is
    the time to the last byte. `kept` is the card that answered the turn before.
    """

    text: str
    card: Card
    routed: Routed | None
    attempts: tuple[Attempt, ...]
    total_ms: float
    usage: Usage | None = None
    cost_usd: float | None = None
    kept: str | None = None


class Conversation:
    """The turns so far, and the card that answered last. A turn that fails leaves both as they are.

    `choose` routes a request, given the card that answered last; or `named` is the card of every turn. Use it on one
    event loop.
    """

    def __init__(
        self,
        catalog: Catalog,
        choose: Callable[[ChatRequest, str | None], Routed],
        named: str | None = None,
        *,
        stream: bool,
    ) -> None:
        self._catalog, self._choose, self._named, self._stream = catalog, choose, named, stream
        self._dispatcher = Dispatcher()
        self._runner = PlanRunner(self._dispatcher)
        self._messages: list[Message] = []
        self._kept: str | None = None

    async def answer(self, text: str, show: Show) -> Answer:
        """The answer to the next turn; `show` gets its text, in pieces as they arrive where it is streamed.

        Raises CallerError where no card may answer, and UpstreamError where none does or the answer breaks off.
        """
        started_s = time.monotonic()
        request = ChatRequest.from_body({"messages": [*self._messages, {"role": "user", "content": text}]})
        routed, plan = self._plan(request)
        # Routing takes the flags out of the prompt.
        messages = (request if routed is None else routed.request).body["messages"]
        attempts: list[Attempt] = []
        call = self._call(plan, messages)
        response = await self._runner.run(plan, self._catalog, call, attempts)
        if response.status >= 400:
            raise UpstreamError(error_text(response), response.status)
        pieces: list[str] = []

        def add(piece: str) -> None:
            pieces.append(piece)
            show(piece)

        await _read(response, call.api, add)
        usage = booked_usage(response, call.api, call.body)
        answer = Answer(
            text="".join(pieces),
            card=response.card,
            routed=routed,
            attempts=tuple(attempts),
            total_ms=rounded_ms(time.monotonic() - started_s),
            usage=usage,
            cost_usd=None if usage is None else cost_of(response.card, usage),
            kept=self._kept,
        )
        if answer.text:
            # Providers reject an empty turn.
            self._messages = [*messages, {"role": "assistant", "content": answer.text}]
        self._kept = answer.card.id
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self._dispatcher.aclose()

    def _plan(self, request: ChatRequest) -> tuple[Routed | None, Plan]:
        if self._named is not None:
            return None, SinglePlan(self._named)
        routed = self._choose(request, self._kept)
        return routed, routed.decision.plan

    def _call(self, plan: Plan, messages: Sequence[Message]) -> Call:
        cards = [self._catalog.named(name) for name in (plan.card, *plan.fallbacks)]
        api = _api_of(cards[0])
        body: dict[str, Any] = {"model": "auto", "messages": list(messages), "stream": self._stream}
        if api == "messages":
            limits = (card.max_output_tokens for card in cards)
            body["max_tokens"] = min([_MAX_OUTPUT_TOKENS, *(int(limit) for limit in limits if limit)])
        return Call(api, body, self._stream)


def _api_of(card: Card) -> Api:
    """The protocol of the call: Anthropic's for a card that supports no other, since chat would need litellm there."""
    native = native_apis(card)
    return "messages" if "messages" in native and "chat" not in native else "chat"


async def _read(response: UpstreamResponse, api: Api, show: Show) -> None:
    """Read a whole or streamed answer."""
    if isinstance(response.body, bytes):
        for text in _texts(json_or_none(response.body), api):
            show(text)
        return
    events: Events = response.body
    async with contextlib.aclosing(events):
        async for chunk in events:
            for event in events_of(chunk):
                for text in _texts(data_of(event), api):
                    show(text)


def _texts(value: Any, api: Api) -> Iterator[str]:
    """The texts for the reader in a whole answer or in an event, without the model's thinking."""
    if not isinstance(value, Mapping):
        return
    if api == "messages":
        blocks = value.get("content") if value.get("type") == "message" else (value.get("delta"),)
        for block in blocks if isinstance(blocks, list | tuple) else ():
            text = block.get("text") if isinstance(block, Mapping) else None
            if isinstance(text, str):
                yield text
        return
    choice = first_choice(value)
    message = None if choice is None else choice.get("delta") or choice.get("message")
    for delta in deltas(message):
        if delta.kind in ("text", "refusal"):
            yield delta.text
