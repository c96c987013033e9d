"""Cards that are nearly the same, and a shortlist of cards for a text, by three views of what cards are for.

The views are the name of a card (its id and aliases), its description (`description` and `good_for`), and its examples
with its profile. All are vectors that are computed once for a catalogue, so that thousands of cards are searched
without reading a text of theirs again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from router.cards.schema import Card
from router.perceive.purpose.density import TaskMean
from router.perceive.purpose.purposes import Purposes
from router.perceive.purpose.space import PurposeSpace, description_of, name_of
from router.perceive.skills import unit_rows
from router.types import Doubles, Floats

NEARLY_THE_SAME = 0.95
"""The cosine of the mean topics of two cards above which they are reported.

Of 86 tasks of `everyday`, `llmrouter_default`, `mint` and `mmlu_helm` with five examples each, no two exceed .90. Of
means over half of each task's prompts, six pairs exceed it, such as HumanEval and MATH in two of the sets."""

_CONSTANT, _WEIGHTS = 60.0, (1.0, 1.0, 4.0)
"""Ranks count as the reciprocal of their sum with the constant, weighted by view. The weights were chosen on 77 tasks
of `llmrouter_default`, `mint` and `mmlu_helm`: the card of a prompt's task is among ten in .906 of the prompts, by
examples alone in .899, by names in .447."""

_BLOCK = 512
_FIRST = 10
VIEWS = ("name", "description", "examples")


class SimilarPair(Struct, frozen=True):
    """Two cards whose examples or profiles have this cosine."""

    one: str
    other: str
    cosine: float


class Shown(Struct, frozen=True):
    """A card of a shortlist: the views in which it is among the first ones, and its match in each: the cosines of its
    name and its description, the log-likelihood of its examples; None where the card has none.
    """

    card: str
    views: tuple[str, ...]
    name: float | None
    description: float | None
    examples: float | None


class CardViews:
    """The views of the cards of one catalogue. `means` are those of profiles, by card id."""

    def __init__(self, space: PurposeSpace, cards: Sequence[Card], means: Mapping[str, TaskMean] | None = None) -> None:
        self._space = space
        self._cards = [card for card in cards if card.effort_of is None]
        self.ids = tuple(card.id for card in self._cards)
        means = means or {}
        self._means = _mean_topics(space, self._cards, means)
        shown = [at for at, card in enumerate(self._cards) if card.examples or card.id in means]
        self._purposes = Purposes(space, self._cards, np.array(shown, dtype=np.intp), means)
        self._names = _topics(space, [name_of(card) for card in self._cards])
        self._descriptions = _topics(space, [description_of(card) for card in self._cards])

    def pairs(self, least: float = NEARLY_THE_SAME) -> tuple[SimilarPair, ...]:
        """The pairs of cards with at least this cosine of their examples and profiles, the most similar first."""
        found: list[SimilarPair] = []
        known = np.abs(self._means).max(axis=1, initial=0.0) > 0
        for start in range(0, len(self.ids), _BLOCK):
            cosines = self._means[start : start + _BLOCK] @ self._means.T
            for row, column in np.argwhere(cosines >= least).tolist():
                if start + row < column and known[start + row] and known[column]:
                    pair = self.ids[start + row], self.ids[column]
                    found.append(SimilarPair(*pair, round(float(cosines[row, column]), 4)))
        return tuple(sorted(found, key=lambda pair: (-pair.cosine, pair.one, pair.other)))

    def shortlist(self, text: str, most: int = 10) -> tuple[Shown, ...]:
        """The cards for a prompt, by the weighted sum of the reciprocal ranks in the views."""
        topic = self._space.points_of([(text,)])[0][: self._space.embedded]
        by_examples = np.full(len(self.ids), np.nan)
        by_examples[self._purposes.positions] = self._purposes.topic_matches(topic)
        texts = [
            np.where(np.abs(rows).any(axis=1), (rows * topic).sum(axis=1), np.nan)
            for rows in (self._names, self._descriptions)
        ]
        matches = [*texts, by_examples]
        score = np.zeros(len(self.ids))
        among: list[set[int]] = []
        for of_view, weight in zip(matches, _WEIGHTS, strict=True):
            # NaN is last.
            order = np.argsort(-of_view, kind="stable")[: int(np.isfinite(of_view).sum())]
            score[order] += weight / (_CONSTANT + 1.0 + np.arange(len(order)))
            among.append(set(order[:_FIRST].tolist()))
        best = np.lexsort((np.arange(len(score)), -score))[:most].tolist()
        return tuple(
            Shown(
                self.ids[at],
                tuple(name for name, first in zip(VIEWS, among, strict=True) if at in first),
                *(round(float(of_view[at]), 3) if np.isfinite(of_view[at]) else None for of_view in matches),
            )
            for at in best
            if score[at] > 0
        )


def _mean_topics(space: PurposeSpace, cards: Sequence[Card], means: Mapping[str, TaskMean]) -> Floats:
    """The mean topic of each card's examples and profile, of length one; zeros for a card without either."""
    rows: Doubles = np.zeros((len(cards), space.embedded))
    for at, card in enumerate(cards):
        mean = means.get(card.id, TaskMean(np.zeros(space.width), 0))
        if card.examples:
            mean = mean.with_points(space.points_of([(text,) for text in card.examples]))
        rows[at] = mean.mean[: space.embedded]
    return unit_rows(rows.astype(np.float32))


def _topics(space: PurposeSpace, texts: Sequence[str]) -> Floats:
    rows = np.zeros((len(texts), space.embedded), dtype=np.float32)
    stated = [at for at, text in enumerate(texts) if text]
    if stated:
        rows[stated] = space.points_of([(texts[at],) for at in stated])[:, : space.embedded]
    return rows
