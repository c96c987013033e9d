"""The error memory of one card: signed errors of its forecast, in a fixed number of cells.

A vote on an answer has the residual `d = value - forecast`, in [-1, 1]. Row 0 of the cells has all votes, forgotten
fast, row 1 all votes, forgotten slowly, and the further rows those of each cell of the sketch. Each row has the sums
`Σ w d` and the counts `Σ w` of every slot (`router.perceive.memory.voters`). Row 0 is stored apart, as `recent_sums`
and `recent_counts`, and has a place among the others only when the rows are read.

In the slow rows, a slot forgets by its own votes, half of them within a half-life, and with time: what others vote
changes nothing in it. What has to be quick, the fast row and the scores of choices, forgets by the votes of all:
otherwise, the more tenants vote, the longer a card's past would stand against its present. It is kept once for each
slot that an estimate leaves out, and there that slot's votes make nothing be forgotten.

The mean error of a row is shrunk by its count: `Σ w d / (Σ w + prior)`, and that of a cell of the sketch towards the
mean of all votes. Which of these corrections is applied, and how strongly, is chosen by the card's own prequential
score (Dawid 1984): every vote first scores what each of `CHOICES` would have added to its forecast, by squared error,
and is learned only then. One that does not reduce the error beyond doubt is not applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.perceive.memory.fast_head import FastHeads, HeadView
from router.perceive.memory.sketch import CELLS, TABLES
from router.perceive.memory.voters import (
    NAMED,
    POOLED,
    SLOTS,
    TRUSTED,
    left_out_weights,
    pace_of_forgetting,
    recent_shares,
    smallest,
)
from router.types import Doubles, Indices

FAST, SLOW, SKETCH = 0, 1, 2
ROWS = SKETCH + TABLES * CELLS
CHOICES = ((SLOW, 0.5), (SLOW, 1.0), (FAST, 0.5), (FAST, 1.0), (SKETCH, 0.5), (SKETCH, 1.0))
"""What may be applied: which rows, and how strongly."""

MOST = 0.6
"""The largest correction, in either direction."""
DAYS_S = 86_400.0
ESTIMATES = SLOTS - 1
"""The operator's votes are never left out."""
SHAPES: Mapping[str, tuple[int, ...]] = {
    "sums": (ROWS, SLOTS),
    "counts": (ROWS, SLOTS),
    "recent_sums": (ESTIMATES, SLOTS),
    "recent_counts": (ESTIMATES, SLOTS),
    "gains": (len(CHOICES), ESTIMATES, SLOTS),
    "squares": (len(CHOICES), ESTIMATES, SLOTS),
    "scored": (ESTIMATES, SLOTS),
    "errors": (SLOTS,),
    "at_s": (SLOTS,),
}
"""The arrays of a memory: the last axis is that of slots."""
_TINY = 1e-9
_TABLE_ROWS = SKETCH + CELLS * np.arange(TABLES)


class MemoryRule(Struct, frozen=True):
    """How fast a memory forgets, and how much it doubts; counts are in votes of full weight.

    `half_life` is that of the slow row and of the sketch, `fast_half_life` of the fast row, `score_half_life` of the
    prequential scores, and `half_life_days` of everything. `prior` and `sketch_prior` shrink corrections. A choice is
    applied where its gain exceeds `worth` by `doubt` standard errors: one that gains less only changes which of two
    nearly equal cards wins, by the noise of few votes. Nothing is applied before votes of the weight `least_scored`
    have scored the choices in every estimate: the standard error of fewer says little.
    """

    half_life: float = 200.0
    fast_half_life: float = 12.0
    score_half_life: float = 50.0
    half_life_days: float = 30.0
    prior: float = 5.0
    sketch_prior: float = 15.0
    doubt: float = 1.0
    worth: float = 0.001
    least_scored: float = 8.0


RULE = MemoryRule()


class Vote(NamedTuple):
    """A judgement of one answer: by whom, the residual in [-1, 1], the weight in (0, 1], the cells of the prompt, and
    its topic on a few planes (`fast_head.projected`), None where it is not known.

    `tenant` is None for the operator.
    """

    tenant: str | None
    residual: float
    weight: float
    cells: Indices
    projected: Doubles | None = None


class CardMemory(Struct, frozen=True, eq=False):
    """The cells of one card. `basis` says what its forecasts come from: a memory with another one is void.

    `tenants` have the slots from 1. `sums` and `counts` are `(ROWS, SLOTS)`, but those of the fast row, `recent_sums`
    and `recent_counts`, `(ESTIMATES, SLOTS)`, one row for each slot that is left out. `gains` and `squares` `(choices,
    ESTIMATES, SLOTS)` are by how much each choice reduced the squared error, and the squares of that; `scored`
    `(ESTIMATES, SLOTS)` are their counts, `errors` `(SLOTS,)` the squared residuals, `at_s` `(SLOTS,)` the times of the
    last votes. `heads` are the fast heads of the named tenants. `votes` counts all.
    """

    basis: str
    tenants: tuple[str, ...]
    sums: Doubles
    counts: Doubles
    recent_sums: Doubles
    recent_counts: Doubles
    gains: Doubles
    squares: Doubles
    scored: Doubles
    errors: Doubles
    at_s: Doubles
    heads: FastHeads
    votes: int = 0

    @classmethod
    def empty(cls, basis: str) -> CardMemory:
        """A memory without votes."""
        zeros: dict[str, Any] = {name: np.zeros(shape) for name, shape in SHAPES.items()}
        return cls(basis, (), heads=FastHeads.empty(NAMED), **zeros)

    def slot_of(self, tenant: str | None) -> int:
        """The slot of a tenant's votes."""
        if tenant is None:
            return TRUSTED
        return 1 + self.tenants.index(tenant) if tenant in self.tenants else POOLED

    def view(self, tenant: str | None, now_s: float, rule: MemoryRule = RULE) -> CardView:
        """What the memory says about the forecasts of a tenant; None for one that never votes."""
        aged = self._aged(now_s, rule)
        slot = self.slot_of(tenant)
        return _view(aged, None if slot in (TRUSTED, POOLED) else slot, rule)

    def learn(self, vote: Vote, now_s: float, rule: MemoryRule = RULE) -> CardMemory:
        """The memory after one more vote."""
        memory = self._aged(now_s, rule)._with_slot_for(vote.tenant)
        slot = memory.slot_of(vote.tenant)
        view = _view(memory, None if slot in (TRUSTED, POOLED) else slot, rule)
        heads = memory.heads
        if vote.projected is not None and slot not in (TRUSTED, POOLED):
            of_memory = 0.0 if view.choice is None else view.correction(vote.cells, view.choice)
            heads = heads.learn(slot - 1, vote.projected, vote.residual, vote.weight, of_memory)
        added = np.array([view.correction(vote.cells, choice) for choice in range(len(CHOICES))])
        gain = vote.residual**2 - np.square(vote.residual - added)
        new = {name: getattr(memory, name).copy() for name in SHAPES}
        keeps, keeps_recent, keeps_scores = (
            0.5 ** (vote.weight / half_life)
            for half_life in (rule.half_life, rule.fast_half_life, rule.score_half_life)
        )
        rows = [SLOW, *(_TABLE_ROWS + vote.cells)]
        for name, value in (("sums", vote.residual), ("counts", 1.0)):
            new[name][:, slot] *= keeps
            new[name][rows, slot] += vote.weight * value
        others = np.arange(ESTIMATES) != slot - 1
        for name, values, keeps_of in (
            ("recent_sums", vote.residual, keeps_recent),
            ("recent_counts", 1.0, keeps_recent),
            ("gains", gain[:, None], keeps_scores),
            ("squares", np.square(gain)[:, None], keeps_scores),
            ("scored", 1.0, keeps_scores),
        ):
            new[name][..., others, :] *= keeps_of ** pace_of_forgetting(memory.recent_counts[others], slot)
            new[name][..., others, slot] += vote.weight * values
        new["errors"][slot] = new["errors"][slot] * keeps + vote.weight * vote.residual**2
        new["at_s"][slot] = max(new["at_s"][slot], now_s)
        return CardMemory(self.basis, memory.tenants, heads=heads, votes=self.votes + 1, **new)

    def _aged(self, now_s: float, rule: MemoryRule) -> CardMemory:
        """The memory after the time since the last vote of each slot."""
        passed_days = np.maximum(now_s - self.at_s, 0.0) / DAYS_S
        keeps = np.where(self.at_s > 0, 0.5 ** (passed_days / rule.half_life_days), 1.0)
        faded = {name: getattr(self, name) * keeps for name in SHAPES if name != "at_s"}
        at_s = np.where(self.at_s > 0, np.maximum(self.at_s, now_s), 0.0)
        heads = self.heads.faded(keeps[1 : 1 + NAMED])
        return msgspec.structs.replace(self, heads=heads, at_s=at_s, **faded)

    def _with_slot_for(self, tenant: str | None) -> CardMemory:
        """A slot for a new tenant: one that was never used, or that of a tenant whose votes have faded.

        The pooled votes are forgotten then, since some of them may be the tenant's: one in two slots is never left out
        as a whole.
        """
        if tenant is None or tenant in self.tenants:
            return self
        if len(self.tenants) < NAMED:
            return msgspec.structs.replace(self, tenants=(*self.tenants, tenant))
        faded = [slot for slot in range(1, POOLED) if self.counts[SLOW, slot] < _FADED]
        if not faded:
            return self
        tenants = tuple(tenant if slot == faded[0] else name for slot, name in enumerate(self.tenants, 1))
        emptied = {name: getattr(self, name).copy() for name in SHAPES}
        for values in emptied.values():
            values[..., [faded[0], POOLED]] = 0.0
        return msgspec.structs.replace(self, tenants=tenants, heads=self.heads.without(faded[0] - 1), **emptied)


_FADED = 0.25


class CardView(Struct, frozen=True, eq=False):
    """What a memory says about the forecasts of one tenant.

    `estimates` `(ROWS, estimates)` are the shrunk mean error of each row in each estimate (`voters.left_out_weights`),
    and `variances` `(ROWS,)` how uncertain it is; `choice` is the index in `CHOICES` of what is applied, None for
    nothing; `score` is by how much that reduced the squared error of a forecast, on average, or would have where
    nothing is applied. `head` is the tenant's own fast head, None where it is not better.
    """

    estimates: Doubles
    variances: Doubles
    choice: int | None
    score: float
    head: HeadView | None = None

    @property
    def is_applied(self) -> bool:
        """Whether anything is corrected."""
        return self.choice is not None or self.head is not None

    @property
    def means(self) -> Doubles:
        """The mean error of each row `(ROWS,)` that no single tenant makes or enlarges."""
        return smallest(self.estimates)

    @property
    def strength(self) -> float:
        """How strongly the correction is applied, in [0, 1]."""
        return 0.0 if self.choice is None else CHOICES[self.choice][1]

    def correction(self, cells: Indices, choice: int) -> float:
        """What a choice adds to the forecast of a prompt with these cells."""
        row, strength = CHOICES[choice]
        # Averaged before the smallest is taken: the bound holds for what is applied, not only for each cell.
        estimates = self.estimates[_TABLE_ROWS + cells].mean(axis=0) if row == SKETCH else self.estimates[row]
        return float(min(max(strength * smallest(estimates[None])[0], -MOST), MOST))


def _view(memory: CardMemory, asker: int | None, rule: MemoryRule) -> CardView:
    # (estimates, SLOTS): each leaves out one slot of another tenant.
    weights = left_out_weights(memory.counts[SLOW], memory.sums[SLOW], asker)
    others = [slot - 1 for slot in range(1, SLOTS) if slot != asker]
    counts, sums = memory.counts @ weights.T, memory.sums @ weights.T
    # Of the recent votes, and of what choices would have brought, a tenant's share is capped once more.
    capped = weights * recent_shares(memory.recent_counts[others] * weights, asker)
    counts[FAST] = (memory.recent_counts[others] * capped).sum(axis=1)
    sums[FAST] = (memory.recent_sums[others] * capped).sum(axis=1)
    means = np.empty_like(sums)
    means[:SKETCH] = sums[:SKETCH] / (counts[:SKETCH] + rule.prior)
    means[SKETCH:] = (sums[SKETCH:] + rule.sketch_prior * means[SLOW]) / (counts[SKETCH:] + rule.sketch_prior)
    error = (weights @ memory.errors).min() / max(float(counts[SLOW].min()), _TINY)
    fewest = counts.min(axis=1)
    priors = np.array([rule.prior, rule.prior, *[rule.sketch_prior] * (ROWS - SKETCH)])
    gains, squares = ((each[:, others] * capped).sum(axis=2) for each in (memory.gains, memory.squares))
    of_scores = memory.scored[others]
    # One vote of full weight is assumed to have shown nothing.
    scored = (of_scores * capped).sum(axis=1) + 1.0
    mean_gain = gains / scored
    spread = np.sqrt(np.maximum(squares / scored - np.square(mean_gain), 0.0))
    certain = (mean_gain - rule.doubt * spread / np.sqrt(scored)).min(axis=1) - rule.worth
    best = int(certain.argmax())
    # As they are: a tenant that votes much weighs less, and has scored no less.
    has_scored = (of_scores * (weights > 0)).sum(axis=1).min() >= rule.least_scored
    choice = best if certain[best] > 0 and has_scored else None
    head = None if asker is None else memory.heads.view(asker - 1)
    if head is not None and not head.is_better:
        head = None
    elif head is not None:
        head = msgspec.structs.replace(head, covariance=min(error, 1.0) * head.covariance)
    return CardView(means, min(error, 1.0) / (fewest + priors), choice, float(mean_gain[best].min()), head)
