"""The cost of probes, and a budget that is never exceeded: before each call, its maximum cost is reserved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from router.cards.price import Price
from router.dispatch.costs import cost_usd
from router.learn.onboarding.endpoint import Reply
from router.learn.onboarding.probes import Probe
from router.perceive.ability.evidence import ProbeOutcome
from router.types import Usage

_OVERHEAD_TOKENS = 16
"""The most tokens that a chat template adds to a message, and to the whole conversation."""

_DECIMALS = 9


def max_input_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """An upper bound for any tokenizer: none produces more tokens than the text has bytes."""
    return _OVERHEAD_TOKENS + sum(
        _OVERHEAD_TOKENS + len(msgspec.json.encode(message.get("content"))) for message in messages
    )


class Budget:
    """Money spent and reserved, with an optional limit. Without a price all amounts are 0."""

    def __init__(self, limit_usd: float | None, price: Price | None, max_tokens: int) -> None:
        self._limit_usd, self._price, self._max_tokens = limit_usd, price, max_tokens
        self.spent_usd = 0.0
        self.reserved_usd = 0.0

    def max_cost_usd(self, probe: Probe) -> float:
        """The most that asking `probe` once may cost."""
        return self._max_cost_usd(probe.request_messages())

    def cost_usd(self, probe: Probe, reply: Reply) -> float | None:
        """The cost of an answer; None where the price or the number of tokens is unknown."""
        if self._price is None:
            return None
        if reply.input_tokens is not None and reply.output_tokens is not None:
            return round(cost_usd(self._price, Usage(reply.input_tokens, reply.output_tokens)), _DECIMALS)
        return 0.0 if self.max_cost_usd(probe) == 0 else None

    def count(self, outcomes: Iterable[ProbeOutcome]) -> None:
        """Count the cost of earlier answers: the maximum where the endpoint did not report their tokens."""
        for outcome in outcomes:
            max_cost_usd = self._max_cost_usd([{"content": outcome.prompt}])
            self.spent_usd += max_cost_usd if outcome.cost_usd is None else outcome.cost_usd

    def reserve(self, probe: Probe) -> bool:
        """Reserve the maximum cost of asking `probe`; False where the limit might be exceeded."""
        max_cost_usd = self.max_cost_usd(probe)
        if self._limit_usd is not None and self.spent_usd + self.reserved_usd + max_cost_usd > self._limit_usd:
            return False
        self.reserved_usd += max_cost_usd
        return True

    def settle(self, probe: Probe, spent_usd: float | None) -> None:
        """Release the reservation and count what was spent: the maximum cost where `spent_usd` is None."""
        max_cost_usd = self.max_cost_usd(probe)
        self.reserved_usd -= max_cost_usd
        self.spent_usd += max_cost_usd if spent_usd is None else spent_usd

    def _max_cost_usd(self, messages: Sequence[Mapping[str, Any]]) -> float:
        if self._price is None:
            return 0.0
        return cost_usd(self._price, Usage(max_input_tokens(messages), self._max_tokens))
