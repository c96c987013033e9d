"""The error memory of one card: signed errors of its forecast, in a fixed number of cells.

A vote on an answer has the residual `d = value - forecast`, in [-1, 1]. Row 0 of the cells has all votes, forgotten
fast, row 1 all votes, forgotten slowly, and the further rows those of each cell of the sketch. Each row has the sums
`Σ w d` and the counts `Σ w` of every slot (`router.perceive.memory.voters`). A slot forgets by its own votes, half of
them within a half-life, and with time: what others vote changes nothing in it.

The mean error of a row is shrunk by its count: `Σ w d / (Σ w + prior)`, and that of a cell of the sketch towards the
mean of all votes. Which of these corrections is applied, and how strongly, is chosen by the card's own prequential
score (Dawid 1984): every vote first scores what each of `CHOICES` would have added to its forecast, by squared error,
and is learned only then. One that does not reduce the error beyond doubt is not applied.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.perceive.memory.fast_head import FastHeads, HeadView
from router.perceive.memory.sketch import CELLS, TABLES
from router.perceive.memory.voters import NAMED, POOLED, SLOTS, TRUSTED, left_out_weights, smallest
from router.types import Doubles, Indices

FAST, SLOW, SKETCH = 0, 1, 2
ROWS = SKETCH + TABLES * CELLS
CHOICES = ((SLOW, 0.5), (SLOW, 1.0), (FAST, 0.5), (FAST, 1.0), (SKETCH, 0.5), (SKETCH, 1.0))
"""What may be applied: which rows, and how strongly."""

MOST = 0.6
"""The largest correction, in either direction."""
DAYS_S = 86_400.0
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
    fast_half_life: float = 25.0
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

    `tenants` have the slots from 1. `sums` and `counts` are `(ROWS, SLOTS)`, `gains` and `squares` `(choices, SLOTS)`:
    by how much each choice reduced the squared error, and the squares of that; `scored` `(SLOTS,)` are their counts,
    `errors` `(SLOTS,)` the squared residuals, `at_s` `(SLOTS,)` the times of the last votes. `heads` are the
    fast heads of the named tenants. `votes` counts all.
    """

    basis: str
    tenants: tuple[str, ...]
    sums: Doubles
    counts: Doubles
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
        rows, choices = (ROWS, SLOTS), (len(CHOICES), SLOTS)
        scored, errors, at_s = np.zeros((3, SLOTS))
        sums, counts, gains, squares = np.zeros(rows), np.zeros(rows), np.zeros(choices), np.zeros(choices)
        heads = FastHeads.empty(NAMED)
        return cls(basis, (), sums, counts, gains, squares, scored, errors, at_s, heads)

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
        keeps = 0.5 ** (vote.weight / np.array([rule.fast_half_life, *[rule.half_life] * (ROWS - 1)]))
        keeps_scores = 0.5 ** (vote.weight / rule.score_half_life)
        sums, counts = memory.sums.copy(), memory.counts.copy()
        gains, squares = memory.gains.copy(), memory.squares.copy()
        scored, errors, at_s = memory.scored.copy(), memory.errors.copy(), memory.at_s.copy()
        for values in (sums, counts):
            values[:, slot] *= keeps
        rows = [FAST, SLOW, *(_TABLE_ROWS + vote.cells)]
        sums[rows, slot] += vote.weight * vote.residual
        counts[rows, slot] += vote.weight
        gains[:, slot] = gains[:, slot] * keeps_scores + vote.weight * gain
        squares[:, slot] = squares[:, slot] * keeps_scores + vote.weight * np.square(gain)
        scored[slot] = scored[slot] * keeps_scores + vote.weight
        errors[slot] = errors[slot] * keeps[SLOW] + vote.weight * vote.residual**2
        at_s[slot] = max(at_s[slot], now_s)
        return CardMemory(
            self.basis, memory.tenants, sums, counts, gains, squares, scored, errors, at_s, heads, self.votes + 1
        )

    def _aged(self, now_s: float, rule: MemoryRule) -> CardMemory:
        """The memory after the time since the last vote of each slot."""
        passed_days = np.maximum(now_s - self.at_s, 0.0) / DAYS_S
        keeps = np.where(self.at_s > 0, 0.5 ** (passed_days / rule.half_life_days), 1.0)
        return msgspec.structs.replace(
            self,
            sums=self.sums * keeps,
            counts=self.counts * keeps,
            gains=self.gains * keeps,
            squares=self.squares * keeps,
            scored=self.scored * keeps,
            errors=self.errors * keeps,
            heads=self.heads.faded(keeps[1 : 1 + NAMED]),
            at_s=np.where(self.at_s > 0, np.maximum(self.at_s, now_s), 0.0),
        )

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
        emptied = {name: getattr(self, name).copy() for name in _OF_SLOTS}
        for values in emptied.values():
            values[..., [faded[0], POOLED]] = 0.0
        return msgspec.structs.replace(self, tenants=tenants, heads=self.heads.without(faded[0] - 1), **emptied)


_FADED = 0.25
_OF_SLOTS = ("sums", "counts", "gains", "squares", "scored", "errors", "at_s")


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
    weights = left_out_weights(memory.counts[SLOW], memory.sums[SLOW], asker).T
    counts, sums = memory.counts @ weights, memory.sums @ weights
    means = np.empty_like(sums)
    means[:SKETCH] = sums[:SKETCH] / (counts[:SKETCH] + rule.prior)
    means[SKETCH:] = (sums[SKETCH:] + rule.sketch_prior * means[SLOW]) / (counts[SKETCH:] + rule.sketch_prior)
    error = (memory.errors @ weights).min() / max(float(counts[SLOW].min()), _TINY)
    fewest = counts.min(axis=1)
    priors = np.array([rule.prior, rule.prior, *[rule.sketch_prior] * (ROWS - SKETCH)])
    scored = memory.scored @ weights
    # One vote of full weight is assumed to have shown nothing.
    mean_gain = (memory.gains @ weights) / (scored + 1.0)
    spread = np.sqrt(np.maximum((memory.squares @ weights) / (scored + 1.0) - np.square(mean_gain), 0.0))
    certain = (mean_gain - rule.doubt * spread / np.sqrt(scored + 1.0)).min(axis=1) - rule.worth
    best = int(certain.argmax())
    # As they are: a tenant that votes much weighs less, and has scored no less.
    has_scored = (memory.scored @ (weights > 0)).min() >= rule.least_scored
    choice = best if certain[best] > 0 and has_scored else None
    head = None if asker is None else memory.heads.view(asker - 1)
    if head is not None and not head.is_better:
        head = None
    elif head is not None:
        head = msgspec.structs.replace(head, covariance=min(error, 1.0) * head.covariance)
    return CardView(means, min(error, 1.0) / (fewest + priors), choice, float(mean_gain[best].min()), head)
