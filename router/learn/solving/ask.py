"""Ask the cards the examples, each once, within one budget for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.dispatch import Dispatcher
from router.dispatch.costs import cost_usd, price_of
from router.errors import UpstreamError
from router.learn.onboarding.budget import max_input_tokens
from router.learn.onboarding.endpoint import Endpoint, Reply
from router.learn.onboarding.probes import Probe
from router.learn.solving.answer_log import Answered, AnswerLog, Asked, Failed
from router.learn.solving.task import Task
from router.types import Usage

_MOST_FAILURES = 2
_DECIMALS = 9
_REASON_CHARACTERS = 200

Wait = Callable[[float], Awaitable[None]]


class Asking(Struct, frozen=True):
    """How far asking has come. `failed` are the cards whose endpoints do not answer, with the reason."""

    answered: int
    wanted: int
    spent_usd: float
    failed: dict[str, str] = {}
    stopped: Literal["", "budget"] = ""


def asked_of(task: Task, card: Card, probe: Probe) -> Asked:
    """The identity of asking `card` an example."""
    return Asked(card.id, card.model, task.key_of(probe))


def worst_usd_of(card: Card, probe: Probe, max_tokens: int) -> float:
    """The most that one answer may cost: no tokenizer makes more tokens than a text has bytes."""
    price = price_of(card)
    if price is None:
        return 0.0
    return cost_usd(price, Usage(max_input_tokens(probe.messages), _limit(card, max_tokens)))


async def ask_examples(
    task: Task,
    cards: Sequence[Card],
    log: AnswerLog,
    dispatcher: Dispatcher,
    *,
    max_usd: float,
    concurrency: int = 4,
    on_progress: Callable[[Asking], None] = lambda _: None,
    wait: Wait = asyncio.sleep,
) -> Asking:
    """Ask every card every example that it has not answered, example by example; answers are stored in `log`.

    Before each call the most that it may cost is reserved; asking ends where that might exceed `max_usd`, which counts
    all runs. A card whose endpoint fails twice is not asked further.
    """
    run = _Run(task, cards, log, dispatcher, max_usd, wait, on_progress)
    return await run.ask(concurrency)


class _Run:
    def __init__(
        self,
        task: Task,
        cards: Sequence[Card],
        log: AnswerLog,
        dispatcher: Dispatcher,
        max_usd: float,
        wait: Wait,
        on_progress: Callable[[Asking], None],
    ) -> None:
        self._task, self._cards, self._log, self._max_usd = task, cards, log, max_usd
        self._on_progress = on_progress
        self._endpoints = {
            card.id: Endpoint(card, dispatcher, _limit(card, task.max_tokens), wait) for card in self._cards
        }
        self._slots = {
            card.id: asyncio.Semaphore(card.rate_limits.concurrency)
            for card in cards
            if card.rate_limits and card.rate_limits.concurrency
        }
        self._failures: dict[str, list[str]] = {}
        # What calls that have not begun may cost; those that have begun are counted in the log.
        self._reserved_usd = 0.0

    async def ask(self, concurrency: int) -> Asking:
        waiting = deque(
            (card, probe)
            for probe in self._task.probes
            for card in self._cards
            if asked_of(self._task, card, probe) not in self._log.account.answers
        )
        running: set[asyncio.Task[None]] = set()
        stopped: Literal["", "budget"] = ""
        try:
            while waiting or running:
                while waiting and len(running) < concurrency:
                    card, probe = waiting[0]
                    if len(self._failures.get(card.id, ())) >= _MOST_FAILURES:
                        waiting.popleft()
                        continue
                    worst_usd = worst_usd_of(card, probe, self._task.max_tokens)
                    if not self._reserve(worst_usd):
                        break
                    waiting.popleft()
                    running.add(asyncio.create_task(self._ask(card, probe, worst_usd)))
                if not running:
                    # Nothing that ends can make room in the budget.
                    stopped = "budget" if waiting else ""
                    break
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                self._on_progress(self._state())
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        return msgspec.structs.replace(self._state(), stopped=stopped)

    def _state(self) -> Asking:
        wanted = [asked_of(self._task, card, probe) for card in self._cards for probe in self._task.probes]
        failed = {card: texts[-1] for card, texts in self._failures.items() if len(texts) >= _MOST_FAILURES}
        answered = sum(each in self._log.account.answers for each in wanted)
        return Asking(answered, len(wanted), self._log.account.spent_usd, failed)

    def _reserve(self, worst_usd: float) -> bool:
        if self._log.account.spent_usd + self._reserved_usd + worst_usd > self._max_usd:
            return False
        self._reserved_usd += worst_usd
        return True

    def _begin(self, asked: Asked, probe: Probe, worst_usd: float) -> int:
        """Turn what is reserved for a call into what the log counts as spent."""
        call = self._log.begin(asked, probe.id, worst_usd)
        self._reserved_usd -= worst_usd
        return call

    async def _ask(self, card: Card, probe: Probe, worst_usd: float) -> None:
        asked = asked_of(self._task, card, probe)
        slot = self._slots.get(card.id)
        async with slot or contextlib.nullcontext():
            call: int | None = self._begin(asked, probe, worst_usd)

            def may_retry() -> bool:
                # The interrupted call may be charged in full: it stays in the log as a call without an answer.
                nonlocal call
                call = self._begin(asked, probe, worst_usd) if self._reserve(worst_usd) else None
                return call is not None

            try:
                reply = await self._endpoints[card.id].ask(probe.messages, may_retry)
            except UpstreamError as error:
                reason = " ".join(str(error).split())[:_REASON_CHARACTERS]
                if call is not None:
                    self._log.end(Failed(call, reason))
                self._failures.setdefault(card.id, []).append(reason)
                return
            assert call is not None
            self._log.end(_answered(call, card, reply))


def _answered(call: int, card: Card, reply: Reply) -> Answered:
    usage, cost = None, None
    price = price_of(card)
    if reply.input_tokens is not None and reply.output_tokens is not None:
        usage = Usage(reply.input_tokens, reply.output_tokens)
        cost = None if price is None else round(cost_usd(price, usage), _DECIMALS)
    return Answered(call, reply.text, reply.latency_ms, reply.ttft_ms, usage, cost, reply.cut_off)


def _limit(card: Card, max_tokens: int) -> int:
    return min(max_tokens, int(card.max_output_tokens or max_tokens))
