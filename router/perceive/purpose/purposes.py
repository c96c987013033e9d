"""What the examples on cards add to their forecasts on a prompt (`router.perceive.purpose.space` has the formulas)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.cards.schema import Card
from router.perceive.exact import exp
from router.perceive.purpose.density import TaskMean
from router.perceive.purpose.space import Known, PurposeSpace
from router.perceive.skills import quantised
from router.types import Doubles, Floats, Indices, Mask

LEAST_MATCH, MATCH_OF_EXAMPLES = 18.5, 7.5
"""The least match of topics at which a prompt belongs to a card with `n` examples is `LEAST_MATCH + MATCH_OF_EXAMPLES
ln n`, in units of log-likelihood: at any number of examples as many prompts of no task are taken."""

SURFACE = 3.0
"""How much the match of surfaces counts beside that of topics, where cards are compared."""

MOST_FOREIGN = 10.0
"""How much a surface unlike that of the examples adds to the limit of a card at most."""

NEAR_PROBES = 20.0
"""The least match of topics at which a prompt belongs to an adapter of which only outcomes of probes are known; its
surface must be likelier that of the probes than that of any task, too.

Chosen on 30 tasks of `llmrouter_default` and `mmlu_helm` with planted outcomes: with 8 or 32 probes 59 or 83 % of an
adapter's own prompts belong to it, and .7 or 2.3 % of all others; by topics alone at 30, 48 and 80 %, .5 and 3.2 %."""

MOST_LOGITS = 2.0
"""`δ`: how much a prompt of the card's own task adds to the logit of its forecast at most.

An adapter that raises the share of accepted answers on its task from .45 to .85 adds this much."""

HALF_MATCH = 200.0
"""`match_0`: the match at which half of what the degree of a match can add is reached."""

LEFT_FAR = 1e-6
"""How far below its base an adapter is forecast on other prompts: the least step, so that equal costs leave these
prompts to the base."""

TIE_LOGITS = 0.01
"""By how much the words on a card, its name, `description`, `good_for` and `not_for`, move the logit at most."""

_NEGATIVE_MARGIN = 0.1
"""How much nearer, as a cosine, the nearest of `not_examples` must be to take all that the examples add."""

_EDGE = 1e-6


class Purposes:
    """The examples and profiles of the cards of one catalogue, together as arrays."""

    def __init__(
        self,
        space: PurposeSpace,
        cards: Sequence[Card],
        positions: Indices,
        means: Mapping[str, TaskMean] | None = None,
        claims: Mask | None = None,
    ) -> None:
        """`positions` are those of the cards in `cards` of whose task something is known, ascending; `means` are those
        beside the examples, by card id; `claims` `(positions,)` are which have examples or a profile (default: all),
        the others only outcomes of probes.
        """
        self.positions, self._space = positions, space
        self._probed = np.zeros(len(positions), dtype=np.bool_) if claims is None else ~claims
        self._known = known = space.known([cards[position] for position in positions.tolist()], means)
        counted = np.array([max(of.counted, 1) for of in known], dtype=np.float64)
        self._limits = np.where(self._probed, NEAR_PROBES, LEAST_MATCH + MATCH_OF_EXAMPLES * np.log(counted))
        counts = sorted({of.counted for of in known})
        self._count: Indices = np.array([counts.index(of.counted) for of in known], dtype=np.intp)
        self._of_topics, self._of_surface = space.topics.shared(counts), space.surface.shared(counts)
        width = len(space.topics.spread)
        self._topic_rows: Floats = np.array([of.topic_row for of in known], dtype=np.float32).reshape(-1, width)
        self._step = np.array([of.topic_step for of in known])
        self._topic_constants = np.array([of.topic_constant for of in known])
        self._surface_constants = np.array([of.surface_constant for of in known])
        self._negatives = {index: of for index, of in enumerate(known) if len(of.negatives)}
        self._not_for = {index: of for index, of in enumerate(known) if len(of.not_for)}
        self._texts: NDArray[np.int8] = np.array([of.text for of in known], dtype=np.int8).reshape(-1, width)
        # Zero for a text of which the encoder knows no word.
        lengths = np.sqrt(np.square(self._texts, dtype=np.float32).sum(axis=1, dtype=np.float64))
        self._text_scales = np.divide(1.0, lengths, out=np.zeros(len(known)), where=lengths > 0)

    def logits(self, vector: Floats) -> tuple[Indices, Doubles]:
        """The indices in `positions` of the cards to which a prompt with this feature vector is near, and what each
        adds to the logit of its forecast.
        """
        point = self._space.points(vector[None])[0]
        topic = point[: len(self._space.topics.spread)]
        matches = self.topic_matches(topic)
        near = np.flatnonzero(matches >= self._limits)
        if not len(near):
            return near, np.zeros(0)
        of_surface = self._surface_matches(near, point[len(topic) :])
        # A greeting alone makes a surface foreign, so what it can take from a good match of topics is bounded.
        held = matches[near] + np.clip(of_surface, -MOST_FOREIGN, 0.0) >= self._limits[near]
        belongs = np.where(self._probed[near], of_surface > 0, held)
        matches = matches[near] + SURFACE * of_surface
        near, matches = near[belongs], matches[belongs]
        logits = MOST_LOGITS * (0.75 + 0.25 * matches / (HALF_MATCH + np.abs(matches)))
        for place, index in enumerate(near.tolist()):
            if index in self._negatives:
                logits[place] *= _share_left(self._negatives[index], topic)
        return near, logits + TIE_LOGITS * self._of_words(near, topic)

    def _of_words(self, near: Indices, topic: Doubles) -> Doubles:
        """How near a prompt is to the words on cards `(near,)`, from -1 to 1: those of `not_for` count only where they
        are nearer than the card's examples and all its other words by a margin.
        """
        of_text: Doubles = np.maximum((self._texts[near] * topic).sum(axis=1) * self._text_scales[near], 0.0)
        for place, index in enumerate(near.tolist()):
            if index in self._not_for:
                known = self._not_for[index]
                positive = max(float((known.positives * topic).sum(axis=1).max(initial=-1.0)), float(of_text[place]))
                nearer = float((known.not_for * topic).sum(axis=1).max()) - positive - _NEGATIVE_MARGIN
                of_text[place] -= min(max(nearer / _NEGATIVE_MARGIN, 0.0), 1.0)
        return of_text

    def _surface_matches(self, near: Indices, surface: Doubles) -> Doubles:
        """The matches `(near,)` of the surfaces of these cards' prompts with that of a prompt `(surface,)`."""
        at = surface @ self._space.surface.axes
        squares, constants = self._of_surface
        shared = (squares * np.square(at)).sum(axis=1) + constants
        rows = np.array([self._known[index].surface_row for index in near.tolist()])
        matches: Doubles = (rows * at).sum(axis=1) + self._surface_constants[near] + shared[self._count[near]]
        return matches

    def topic_matches(self, topic: Doubles) -> Doubles:
        """The matches `(positions,)` of topics with a prompt's topic `(embedded,)`."""
        at = topic @ self._space.topics.axes
        integers, step = quantised(at[None].astype(np.float32), self._space.levels)
        products = (self._topic_rows @ integers[0]).astype(np.float64) * (self._step * float(step[0, 0]))
        squares, constants = self._of_topics
        shared = (squares * np.square(at)).sum(axis=1) + constants
        matches: Doubles = products + self._topic_constants + shared[self._count]
        return matches


def raised(quality: Doubles, logits: Doubles) -> Doubles:
    """Qualities in (0, 1) with this much added to their logits, to six decimals."""
    bounded = np.minimum(np.maximum(quality, _EDGE), 1.0 - _EDGE)
    odds = bounded / (1.0 - bounded) * exp(logits)
    return np.minimum((odds / (1.0 + odds)).round(6), 1.0 - _EDGE)


def _share_left(known: Known, topic: Doubles) -> float:
    """The share of what the examples add that is left by the negative ones, in [0, 1]."""
    positive = float((known.positives * topic).sum(axis=1).max())
    negative = float((known.negatives * topic).sum(axis=1).max())
    return 1.0 - min(max((negative - positive) / _NEGATIVE_MARGIN, 0.0), 1.0)
