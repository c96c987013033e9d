"""Purpose, outcome and cost of each call of one plan, and their sum."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from router.cards.schema import Card
from router.dispatch.costs import ASSUMED_OUTPUT_TOKENS, booked_usage, cost_of
from router.dispatch.response import UpstreamResponse
from router.formats.units import rounded_ms
from router.types import Api, Attempt, CallOutcome, Usage
from router.wire.usage import counted

_OPEN = "open"


class Called:
    """One call. `response` is there as soon as an upstream has answered, or a stream has begun."""

    def __init__(
        self, card: Card, role: str, api: Api, body: Mapping[str, Any], expected_tokens: float, *, stream: bool
    ) -> None:
        self.card, self.role = card, role
        self.response: UpstreamResponse | None = None
        self.verdict, self.reason = _OPEN, ""
        self.right: float | None = None
        self.has_begun = False
        self.attempts: list[Attempt] = []
        self.began_s, self.ended_s = time.monotonic(), math.nan
        self._api, self._body, self.stream = api, body, stream
        self._expected_tokens = math.ceil(expected_tokens) if expected_tokens > 0 else ASSUMED_OUTPUT_TOKENS
        self._booked: Usage | None = None

    @property
    def is_open(self) -> bool:
        """Whether the answer has no verdict yet."""
        return self.verdict == _OPEN

    def end(self, verdict: str, reason: str = "") -> None:
        """Set the verdict on the answer; a later one replaces an earlier one."""
        self.verdict, self.reason = verdict, reason or self.reason
        if math.isnan(self.ended_s):
            self.ended_s = time.monotonic()

    def usage(self) -> Usage | None:
        """The usage so far: as reported, else counted from what has arrived; None where no upstream has answered.

        Of a call that was given up before anything arrived, the input is known; the upstream may have written all the
        same, so the answer counts as long as it was expected.
        """
        if self._booked is not None:
            return self._booked
        if self.response is None:
            if not self.has_begun or self.verdict not in ("cancelled", _OPEN):
                return None
            return counted(None, self._body, self._expected_tokens)
        usage = booked_usage(self.response, self._api, self._body)
        if not math.isnan(self.ended_s):
            self._booked = usage
        return usage

    def outcome(self, since_s: float) -> CallOutcome:
        """The call as it is recorded; times are since `since_s`."""
        usage = self.usage()
        ended_s = time.monotonic() if math.isnan(self.ended_s) else self.ended_s
        return CallOutcome(
            card=self.card.id,
            role=self.role,
            verdict="cancelled" if self.is_open else self.verdict,
            usage=usage,
            cost_usd=None if usage is None else cost_of(self.card, usage),
            right=None if self.right is None else round(self.right, 4),
            reason=self.reason,
            began_ms=rounded_ms(self.began_s - since_s),
            elapsed_ms=rounded_ms(ended_s - self.began_s),
        )


class Ledger:
    """The calls of one request's plan, in the order in which they began; empty where one card answers alone.

    `degraded` is why the answer is less than what was planned, in one word.
    """

    def __init__(self) -> None:
        self.plan = ""
        self.degraded = ""
        self.calls: list[Called] = []
        self._begun: list[tuple[Called, int]] = []

    def add(self, called: Called) -> None:
        """Take in a call that begins."""
        self.calls.append(called)

    def begin_attempt(self, called: Called) -> None:
        """Take in that an upstream is about to be called."""
        called.has_begun = True
        self._begun.append((called, sum(each is called for each, _ in self._begun)))

    @property
    def newest_step(self) -> tuple[int, str] | None:
        """The number and the role of the call that an upstream was last called for; None outside of a plan."""
        if not self._begun:
            return None
        called, _ = self._begun[-1]
        return next(number for number, each in enumerate(self.calls) if each is called), called.role

    def close_attempts(self, called: Called) -> None:
        """Note the attempts of a call that was given up, which nobody else notes."""
        begun = sum(each is called for each, _ in self._begun)
        elapsed_ms = rounded_ms(time.monotonic() - called.began_s)
        while len(called.attempts) < begun:
            called.attempts.append(Attempt(called.card.id, called.card.id, None, elapsed_ms, "cancelled"))

    def attempts(self) -> list[Attempt]:
        """The attempts of all calls, in the order in which they began."""
        return [called.attempts[number] for called, number in self._begun if number < len(called.attempts)]

    def usage(self, *, without: Called | None = None) -> Usage | None:
        """The tokens of all calls together, or of all others than one; None where no upstream has answered."""
        return total_of([usage for each in self.calls if each is not without and (usage := each.usage())])

    def cost_usd(self) -> float | None:
        """What all calls cost together, as far as their prices are known; None where none is."""
        priced = ((each.card, each.usage()) for each in self.calls)
        costs = [cost for card, usage in priced if usage is not None and (cost := cost_of(card, usage)) is not None]
        return sum(costs) if costs else None

    def stated_cost_usd(self, expected_usd: float | None) -> float | None:
        """What all calls cost as far as is known when a stream begins: of one that is still written, what is expected
        of it.
        """
        writing = [each for each in self.calls if math.isnan(each.ended_s)]
        if not writing:
            return self.cost_usd()
        ended = [each.outcome(0.0).cost_usd or 0.0 for each in self.calls if each not in writing]
        return None if expected_usd is None else sum(ended) + expected_usd * len(writing)

    def degrade(self, reason: str) -> None:
        """State why the answer is less than planned; the first reason counts."""
        self.degraded = self.degraded or reason

    def headers(self) -> dict[str, str]:
        """The response headers that describe the plan; none where one card answers as decided."""
        if not self.plan:
            return {"x-route-degraded": self.degraded} if self.degraded else {}
        headers = {"x-route-plan": self.plan, "x-route-calls": str(len(self.calls))}
        return {**headers, "x-route-degraded": self.degraded} if self.degraded else headers

    @property
    def only_shows(self) -> bool:
        """Whether all that goes on is one answer that the client sees, whole and not only a part of it."""
        going_on = [each for each in self.calls if math.isnan(each.ended_s)]
        return len(going_on) == 1 and going_on[0].verdict == "shown" and going_on[0].role != "segment"

    def outcomes(self, since_s: float) -> tuple[CallOutcome, ...]:
        """Every call as it is recorded; times are since `since_s`, in seconds of the monotonic clock."""
        return tuple(each.outcome(since_s) for each in self.calls)


def total_of(usages: list[Usage]) -> Usage | None:
    """The sum of the counts; estimated where one of them is. What upstreams charge by their own word is left out."""
    if not usages:
        return None
    return Usage(
        input_tokens=sum(each.input_tokens for each in usages),
        output_tokens=sum(each.output_tokens for each in usages),
        cached_input_tokens=sum(each.cached_input_tokens for each in usages),
        cache_write_tokens=sum(each.cache_write_tokens for each in usages),
        reasoning_tokens=sum(each.reasoning_tokens for each in usages),
        cache_write_1h_tokens=sum(each.cache_write_1h_tokens for each in usages),
        audio_input_tokens=sum(each.audio_input_tokens for each in usages),
        audio_output_tokens=sum(each.audio_output_tokens for each in usages),
        estimated=any(each.estimated for each in usages),
    )
