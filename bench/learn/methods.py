"""Ways to choose a card for each request of a stream, with and without learning from the votes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from msgspec import Struct

from bench.learn.streams import HOSTILE, Stream
from router.perceive.memory.card import MOST, RULE, CardMemory, CardView, MemoryRule, Vote
from router.types import Doubles, Indices

_WEIGHT = 0.5
_SECONDS_A_REQUEST = 30.0
_START_S = 1_790_000_000.0


class Prompt(NamedTuple):
    """What corrections depend on: the cells of a prompt, and its topic on the planes of fast heads."""

    cells: Indices
    projected: Doubles


class Method(Protocol):
    """Corrects the forecasts of a request, and learns from the value of an answer."""

    def corrections(self, tenant: str, prompt: Prompt, now_s: float) -> Doubles | None:
        """What is added to the forecast of each card `(cards,)`; None for nothing."""

    def learn(self, tenant: str, card: int, residual: float, prompt: Prompt, now_s: float) -> None:
        """One vote."""


class NoLearning:
    """The forecasts as they were trained."""

    def __init__(self, cards: int) -> None:
        del cards

    def corrections(self, tenant: str, prompt: Prompt, now_s: float) -> Doubles | None:
        """See `Method`."""
        del tenant, prompt, now_s
        return None

    def learn(self, tenant: str, card: int, residual: float, prompt: Prompt, now_s: float) -> None:
        """See `Method`."""


class RunningMean(NoLearning):
    """The mean residual of each card, of all votes alike, shrunk by ten: what one would write first."""

    def __init__(self, cards: int) -> None:
        super().__init__(cards)
        self._sums, self._counts = np.zeros(cards), np.full(cards, 10.0)

    def corrections(self, tenant: str, prompt: Prompt, now_s: float) -> Doubles | None:
        """See `Method`."""
        means: Doubles = self._sums / self._counts
        return means

    def learn(self, tenant: str, card: int, residual: float, prompt: Prompt, now_s: float) -> None:
        """See `Method`."""
        self._sums[card] += residual
        self._counts[card] += 1.0


class ErrorMemory(NoLearning):
    """The gateway's own memories, as `learning: apply` uses them; `heads`: as with `fast_heads: on`, too."""

    def __init__(self, cards: int, rule: MemoryRule = RULE, *, heads: bool = False) -> None:
        super().__init__(cards)
        self._rule, self._heads = rule, heads
        self._memories = [CardMemory.empty("") for _ in range(cards)]
        self._views: list[dict[str | None, CardView]] = [{} for _ in range(cards)]

    def corrections(self, tenant: str, prompt: Prompt, now_s: float) -> Doubles | None:
        """See `Method`."""
        added = np.zeros(len(self._memories))
        for card, memory in enumerate(self._memories):
            if not memory.votes:
                continue
            asker = tenant if tenant in memory.tenants else None
            view = self._views[card].get(asker)
            if view is None:
                view = self._views[card][asker] = memory.view(asker, now_s, self._rule)
            if view.head is not None:
                added[card] = np.clip(view.head.weights @ np.append(prompt.projected, 1.0), -MOST, MOST)
            elif view.choice is not None:
                added[card] = view.correction(prompt.cells, view.choice)
        return added

    def learn(self, tenant: str, card: int, residual: float, prompt: Prompt, now_s: float) -> None:
        """See `Method`."""
        vote = Vote(tenant, residual, _WEIGHT, prompt.cells, prompt.projected if self._heads else None)
        self._memories[card] = self._memories[card].learn(vote, now_s, self._rule)
        self._views[card] = {}


class Run(Struct, frozen=True, eq=False):
    """The result of one run: the score of each request of an honest tenant, NaN for others, and the chosen cards."""

    scores: Doubles
    chosen: Indices


def run(stream: Stream, make: Callable[[int], Method], without: int | None = None) -> Run:
    """Choose a card for every request; `without` is a card that may not be chosen."""
    outcomes = stream.outcomes
    method = make(len(outcomes.cards))
    scores, chosen = np.full(len(stream.rows), np.nan), np.zeros(len(stream.rows), dtype=np.intp)
    for number, row in enumerate(stream.rows.tolist()):
        tenant, prompt = stream.tenants[number], Prompt(outcomes.cells[row], outcomes.projected[row])
        now_s = _START_S + _SECONDS_A_REQUEST * number
        values = outcomes.compared[row].copy()
        if (added := method.corrections(tenant, prompt, now_s)) is not None:
            values = np.clip(values + added, 1e-6, 1 - 1e-6)
        if without is not None and number >= stream.change_at:
            values[without] = -1.0
        card = chosen[number] = int(values.argmax())
        if tenant != HOSTILE:
            scores[number] = stream.scores[number, card]
        if stream.votes[number]:
            # A hostile tenant names the card that it wants to harm or to praise.
            is_false = np.isfinite(stream.false_values[number])
            judged = stream.favourite if is_false else card
            value = stream.false_values[number] if is_false else stream.scores[number, card]
            residual = float(value - outcomes.expected[row, judged])
            method.learn(tenant, judged, residual, prompt, now_s)
    return Run(scores, chosen)


def noticed(stream: Stream, result: Run, window: int = 60) -> float:
    """How many votes after the change until the changed card answers half as often as before; infinite for never."""
    is_favourite = (result.chosen == stream.favourite).astype(np.float64)
    before = is_favourite[: stream.change_at].mean()
    shares = np.convolve(is_favourite[stream.change_at :], np.full(window, 1 / window), "valid")
    low = np.flatnonzero(shares < before / 2)
    if not len(low):
        return float("inf")
    return float(stream.votes[stream.change_at : stream.change_at + int(low[0]) + window].sum())


def half_way(streams: Sequence[Stream], runs: Sequence[Run], none: Sequence[Run], removed: Sequence[Run]) -> float:
    """How many votes after the change until the mean score is above half way from no learning to `removed`, in blocks
    of 20 votes over all streams; infinite for never.
    """
    own, worst, best = (_blocks(streams, each) for each in (runs, none, removed))
    over = np.flatnonzero(own > (worst.mean() + best.mean()) / 2)
    return float("inf") if not len(over) else float((over[0] + 1) * _BLOCK_VOTES)


_BLOCK_VOTES = 20


def _blocks(streams: Sequence[Stream], runs: Sequence[Run]) -> Doubles:
    """The mean score of each block of votes after the change."""
    after = [(stream, result, slice(stream.change_at, None)) for stream, result in zip(streams, runs, strict=True)]
    number = np.concatenate([np.cumsum(stream.votes[part]) // _BLOCK_VOTES for stream, _, part in after])
    scores = np.concatenate([result.scores[part] for _, result, part in after])
    return np.array([np.nanmean(scores[number == block]) for block in range(int(number.max()))])
