"""What probes cost, and a budget that is never exceeded: money is set aside before each call, for the worst case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from router.cards.schema import Price
from router.dispatch.costs import cost_usd
from router.learn.onboarding.probes import Probe
from router.perceive.evidence import ProbeOutcome
from router.types import Usage

_OVERHEAD_TOKENS = 16
"""What a chat template adds to a message, and to the whole, at most."""


def most_input_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """An upper bound for any tokenizer: none makes more tokens than the text has bytes."""
    return _OVERHEAD_TOKENS + sum(
        _OVERHEAD_TOKENS + len(msgspec.json.encode(message.get("content"))) for message in messages
    )


class Budget:
    """Money spent and reserved, against a limit. With no price there is no limit either, and all is 0."""

    def __init__(self, limit_usd: float | None, price: Price | None, max_tokens: int) -> None:
        self._limit_usd, self._price, self._max_tokens = limit_usd, price, max_tokens
        self.spent_usd = 0.0
        self.reserved_usd = 0.0

    def worst_usd(self, probe: Probe) -> float:
        """What asking `probe` once costs at most."""
        if self._price is None:
            return 0.0
        return cost_usd(self._price, Usage(most_input_tokens(probe.asked()), self._max_tokens))

    def count(self, outcomes: Iterable[ProbeOutcome]) -> None:
        """Count what earlier answers cost; at most, where their endpoint did not tell."""
        for outcome in outcomes:
            worst = 0.0
            if self._price is not None:
                worst = cost_usd(self._price, Usage(most_input_tokens([{"content": outcome.prompt}]), self._max_tokens))
            self.spent_usd += worst if outcome.cost_usd is None else outcome.cost_usd

    def reserve(self, probe: Probe) -> bool:
        """Set money aside for asking `probe`; False where the limit might be exceeded."""
        worst = self.worst_usd(probe)
        if self._limit_usd is not None and self.spent_usd + self.reserved_usd + worst > self._limit_usd:
            return False
        self.reserved_usd += worst
        return True

    def settle(self, probe: Probe, spent_usd: float | None) -> None:
        """Give back what was reserved, and count what was spent: all of it where that is not known."""
        worst = self.worst_usd(probe)
        self.reserved_usd -= worst
        self.spent_usd += worst if spent_usd is None else spent_usd
