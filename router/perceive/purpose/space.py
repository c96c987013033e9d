"""What a card is for, by example: how much more is expected of it on prompts like its examples, and only on these.

The vectors of prompts of one task are assumed to be normal around the task's mean, with a covariance `W` that all tasks
share, and the means normal with a covariance `B`. Both are frozen in the artifact (`router.perceive.purpose.file`), so
that a card's match depends on its own examples alone. The match is the logarithm of how much likelier the prompt is as
a further prompt of the card's task, of which `n` examples with the mean `x` are known, than as one of any task:

    match(z) = log N(z; n B (n B + W)⁻¹ x, W + (B⁻¹ + n W⁻¹)⁻¹) - log N(z; 0, B + W)

In coordinates in which `W` is one and `B` diagonal, it is a product of the prompt's vector with a row of the card, plus
a number that cards with as many examples share. There are two of them: the match of topics decides whether a prompt is
near the card at all, that of topics and surface features how near. Near prompts add to the logit of the forecast:

    logit q(z) = logit q_0(z) + δ (3/4 + match / (4 (match_0 + |match|)))

`not_examples` take from this as far as they are nearer to the prompt than the examples are. All other prompts keep the
forecast `q_0`: for an adapter, that of its base.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards.schema import Card
from router.perceive.features import feature_vectors
from router.perceive.skills import levels, quantised, unit_rows
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats, Indices

NEAR = 30.0
"""The least match of topics, in units of log-likelihood, at which a prompt belongs to a card."""

MOST_LOGITS = 2.0
"""`δ`: how much a prompt of the card's own task adds to the logit of its forecast at most.

An adapter that raises the share of accepted answers on its task from .45 to .85 adds this much."""

HALF_MATCH = 200.0
"""`match_0`: the match at which half of what the degree of a match can add is reached."""

LEFT_FAR = 1e-6
"""How far below its base an adapter is forecast on other prompts: the least step, so that equal costs leave these
prompts to the base."""

_NEGATIVE_MARGIN = 0.1
"""How much nearer, as a cosine, the nearest of `not_examples` must be to take all that the examples add."""

_CLIP = 3.0
_SURFACE_WEIGHT = 0.03
_RIDGE_OF_TOPICS, _BETWEEN_OF_TOPICS = 0.3, 0.3
_RIDGE, _BETWEEN = 1.0, 0.1
_MOST_KNOWN = 8_192
_EDGE = 1e-6
_LEAST_VARIANCE = 1e-7


class PurposeParameters(Struct, frozen=True, eq=False):
    """`center` `(embedded,)`, the mean embedding; `surface_center`, `surface_scale` `(surface,)`; covariances
    `topic_within` `(embedded, embedded)` and `within`, `between` `(embedded + surface, embedded + surface)`.
    """

    center: Floats
    surface_center: Floats
    surface_scale: Floats
    topic_within: Doubles
    within: Doubles
    between: Doubles


class _Density(NamedTuple):
    """One pair of covariances, diagonalised: `axes` `(numbers, numbers)` maps vectors to coordinates in which the
    within-covariance is one and the between-covariance has the diagonal `spread` `(numbers,)`.
    """

    axes: Doubles
    spread: Doubles

    @classmethod
    def of(cls, within: Doubles, between: Doubles) -> _Density:
        inverse = np.linalg.inv(np.linalg.cholesky(within))
        spread, axes = np.linalg.eigh(inverse @ between @ inverse.T)
        return cls(np.ascontiguousarray(inverse.T @ axes), np.maximum(spread, _EDGE))

    def task(self, examples: Doubles) -> tuple[Doubles, float]:
        """The row and the constant of a card with these examples `(examples, numbers)`."""
        count = len(examples)
        # Card by card, since a product of all at once would round a card's row differently beside others.
        shrunk = (examples.mean(axis=0) @ self.axes) * (count * self.spread / (count * self.spread + 1.0))
        row = shrunk / self._variance(count)
        return row, -0.5 * float((shrunk * row).sum())

    def shared(self, counts: Sequence[int]) -> tuple[Doubles, Doubles]:
        """Of numbers of examples, what multiplies the squared coordinates `(counts, numbers)`, and a constant."""
        variances = np.array([self._variance(count) for count in counts]).reshape(-1, len(self.spread))
        total = 1.0 + self.spread
        return -0.5 * (1.0 / variances - 1.0 / total), -0.5 * (np.log(variances) - np.log(total)).sum(axis=1)

    def _variance(self, count: int) -> Doubles:
        variance: Doubles = 1.0 + self.spread / (count * self.spread + 1.0)
        return variance


class _Known(NamedTuple):
    """What is kept of one card's examples: no text."""

    examples: int
    topic_row: Doubles
    topic_constant: float
    row: Floats
    constant: float
    positives: Floats
    negatives: Floats


class PurposeSpace:
    """The space in which examples are compared with prompts; it remembers the cards that it has seen."""

    def __init__(self, parameters: PurposeParameters, encoder: Encoder) -> None:
        self._parameters, self._encoder = parameters, encoder
        self._embedded = len(parameters.center)
        self._width = self._embedded + len(parameters.surface_center)
        embedded = slice(self._embedded)
        within = parameters.topic_within
        usual = _RIDGE_OF_TOPICS * np.trace(within) / len(within)
        between = parameters.between[embedded, embedded]
        ridge = _RIDGE_OF_TOPICS * np.trace(between) / len(between)
        unit = np.eye(len(within))
        self.topics = _Density.of(within + usual * unit, _BETWEEN_OF_TOPICS * (between + ridge * unit))
        ridged = parameters.within + np.diag(_RIDGE * np.diag(parameters.within) + _LEAST_VARIANCE)
        self.all = _Density.of(ridged, _BETWEEN * parameters.between)
        self._known: dict[bytes, _Known] = {}

    def points(self, vectors: Floats) -> Doubles:
        """Feature vectors `(prompts, width or more)` as points `(prompts, embedded + surface)`."""
        parameters = self._parameters
        topics = unit_rows(vectors[:, : self._embedded] - parameters.center)
        surface = (vectors[:, self._embedded : self._width] - parameters.surface_center) / parameters.surface_scale
        surface = np.minimum(np.maximum(surface, -_CLIP), _CLIP) * _SURFACE_WEIGHT
        return np.concatenate([topics, surface], axis=1, dtype=np.float64)

    def known(self, cards: Sequence[Card]) -> list[_Known]:
        """What the examples of each of `cards` say."""
        keys = [_key_of(card) for card in cards]
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = {key: card for key, card in zip(keys, cards, strict=True) if key not in found}
        if missing:
            if len(self._known) + len(missing) > _MOST_KNOWN:
                self._known.clear()
            learned = dict(zip(missing, self._learned(list(missing.values())), strict=True))
            self._known |= learned
            found |= learned
        return [found[key] for key in keys]

    def _learned(self, cards: Sequence[Card]) -> list[_Known]:
        texts = [(text,) for card in cards for text in (*card.examples, *card.not_examples)]
        points = self.points(feature_vectors(self._encoder, texts))
        learned, end = [], 0
        for card in cards:
            begin, end = end, end + len(card.examples) + len(card.not_examples)
            own, others = np.split(points[begin:end], [len(card.examples)])
            topics, not_topics = own[:, : self._embedded], others[:, : self._embedded]
            topic_row, topic_constant = self.topics.task(topics)
            row, constant = self.all.task(own)
            # Only beside negative examples is the nearest positive one looked for.
            positives = (topics if len(others) else topics[:0]).astype(np.float32)
            negatives = not_topics.astype(np.float32)
            learned.append(
                _Known(len(own), topic_row, topic_constant, row.astype(np.float32), constant, positives, negatives)
            )
        return learned


def _key_of(card: Card) -> bytes:
    return hashlib.sha256(repr((card.examples, card.not_examples)).encode("utf-8", "surrogatepass")).digest()


class Purposes:
    """The examples of the cards of one catalogue, together as arrays."""

    def __init__(self, space: PurposeSpace, cards: Sequence[Card], positions: Indices) -> None:
        """`positions` are those of the cards in `cards` that have examples, ascending."""
        self.positions, self._space = positions, space
        known = space.known([cards[position] for position in positions.tolist()])
        counts = sorted({of.examples for of in known})
        self._count: Indices = np.array([counts.index(of.examples) for of in known], dtype=np.intp)
        self._of_topics, self._of_all = space.topics.shared(counts), space.all.shared(counts)
        width = len(space.topics.spread)
        rows = np.array([of.topic_row for of in known], dtype=np.float32).reshape(-1, width)
        # Products of small integers are exact in float32, so that a sum does not depend on the other cards.
        self._levels = levels(width)
        self._topic_rows, step = quantised(rows, self._levels)
        self._step = step[:, 0].astype(np.float64)
        self._topic_constants = np.array([of.topic_constant for of in known])
        self._rows = np.array([of.row for of in known]).reshape(-1, len(space.all.spread))
        self._constants = np.array([of.constant for of in known])
        self._negatives = {index: of for index, of in enumerate(known) if len(of.negatives)}

    def logits(self, vector: Floats) -> tuple[Indices, Doubles]:
        """The indices in `positions` of the cards to which a prompt with this feature vector is near, and what each
        adds to the logit of its forecast.
        """
        point = self._space.points(vector[None])[0]
        topic = point[: len(self._space.topics.spread)]
        near = np.flatnonzero(self._topic_matches(topic @ self._space.topics.axes) >= NEAR)
        if not len(near):
            return near, np.zeros(0)
        at = point @ self._space.all.axes
        squares, constants = self._of_all
        shared = (squares * np.square(at)).sum(axis=1) + constants
        matches = (self._rows[near] * at).sum(axis=1) + self._constants[near] + shared[self._count[near]]
        logits = MOST_LOGITS * (0.75 + 0.25 * matches / (HALF_MATCH + np.abs(matches)))
        for place, index in enumerate(near.tolist()):
            if index in self._negatives:
                logits[place] *= _share_left(self._negatives[index], topic)
        return near, logits

    def _topic_matches(self, at: Doubles) -> Doubles:
        integers, step = quantised(at[None].astype(np.float32), self._levels)
        products = (self._topic_rows @ integers[0]).astype(np.float64) * (self._step * float(step[0, 0]))
        squares, constants = self._of_topics
        shared = (squares * np.square(at)).sum(axis=1) + constants
        matches: Doubles = products + self._topic_constants + shared[self._count]
        return matches


def raised(quality: Doubles, logits: Doubles) -> Doubles:
    """Qualities in (0, 1) with this much added to their logits, to six decimals."""
    bounded = np.minimum(np.maximum(quality, _EDGE), 1.0 - _EDGE)
    odds = bounded / (1.0 - bounded) * np.exp(logits)
    return np.minimum((odds / (1.0 + odds)).round(6), 1.0 - _EDGE)


def _share_left(known: _Known, topic: Doubles) -> float:
    """The share of what the examples add that is left by the negative ones, in [0, 1]."""
    positive = float((known.positives * topic).sum(axis=1).max())
    negative = float((known.negatives * topic).sum(axis=1).max())
    return 1.0 - min(max((negative - positive) / _NEGATIVE_MARGIN, 0.0), 1.0)
