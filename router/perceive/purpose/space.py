"""What a card is for, by example: how much more is expected of it on prompts like its examples, and only on these.

The vectors of prompts of one task are assumed to be normal around the task's mean, with a covariance `W` that all tasks
share, and the means normal with a covariance `B`. Both are frozen in the artifact (`router.perceive.purpose.file`), so
that a card's match depends on its own examples alone. The match is the logarithm of how much likelier the prompt is as
a further prompt of the card's task, of which `n` examples with the mean `x` are known, than as one of any task:

    match(z) = log N(z; n B (n B + W)⁻¹ x, W + (B⁻¹ + n W⁻¹)⁻¹) - log N(z; 0, B + W)

In coordinates in which `W` is one and `B` diagonal, it is a product of the prompt's vector with a row of the card, plus
a number that cards with as many examples share. There are two of them: that of topics (the embedding) and that of the
surface (length, punctuation, and so on). The match of topics decides whether a prompt is near the card at all, at a
limit that grows with the number of examples, and a prompt of another surface than the examples is not near. Both
together say how near. Near prompts add to the logit of the forecast:

    logit q(z) = logit q_0(z) + δ (3/4 + match / (4 (match_0 + |match|))),   match = match_topics + 3 match_surface

`not_examples` take from this as far as they are nearer to the prompt than the examples are. All other prompts keep the
forecast `q_0`: for an adapter, that of its base.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from router.cards.schema import Card
from router.perceive.features import feature_vectors, topic_texts
from router.perceive.purpose.density import MOST_COUNTED, Density, TaskMean
from router.perceive.skills import levels, quantised, unit_rows
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats

CLIP = 3.0
SURFACE_WEIGHT = 0.03
_RIDGE_OF_TOPICS, _BETWEEN_OF_TOPICS = 0.3, 0.3
_RIDGE_OF_SURFACE, _BETWEEN_OF_SURFACE, _LEAST_BETWEEN = 0.3, 0.03, 0.05
_MOST_KNOWN = 8_192
_AT_ONCE = 128
"""Cards whose examples are encoded at once, which bounds the memory that this takes."""

_LEAST_VARIANCE = 1e-7
_TEXT_LEVELS = 127
_SEPARATORS = re.compile(r"[-_./:@+]+|(?<=[a-z])(?=[A-Z])")


class PurposeParameters(Struct, frozen=True, eq=False):
    """`center` `(embedded,)`, the mean embedding; `surface_center`, `surface_scale` `(surface,)`; covariances
    `topic_within`, `topic_between` `(embedded, embedded)` and `surface_within`, `surface_between` `(surface, surface)`.
    """

    center: Floats
    surface_center: Floats
    surface_scale: Floats
    topic_within: Doubles
    topic_between: Doubles
    surface_within: Doubles
    surface_between: Doubles


class Known(NamedTuple):
    """What is kept of one card's examples, profile and texts: no text.

    `topic_row` `(embedded,)` are integers, in steps of `topic_step`; `positives` are the topics of examples, only where
    the card has `negatives`, those of `not_examples`, or `not_for`. `text` `(embedded,)` is the topic of its name and
    description, as integers up to 127.
    """

    counted: int
    topic_row: NDArray[np.int8]
    topic_step: float
    topic_constant: float
    surface_row: Floats
    surface_constant: float
    positives: Floats
    negatives: Floats
    text: NDArray[np.int8]
    not_for: Floats


class PurposeSpace:
    """The space in which examples are compared with prompts; it remembers the cards that it has seen."""

    def __init__(self, parameters: PurposeParameters, encoder: Encoder) -> None:
        self._parameters, self._encoder = parameters, encoder
        self.embedded = len(parameters.center)
        self.width = self.embedded + len(parameters.surface_center)
        within, between = parameters.topic_within, parameters.topic_between
        ridges = (_RIDGE_OF_TOPICS * np.trace(of) / len(of) * np.eye(len(of)) for of in (within, between))
        self.topics = Density.of(within + next(ridges), _BETWEEN_OF_TOPICS * (between + next(ridges)))
        within, between = parameters.surface_within, parameters.surface_between
        within = within + np.diag(_RIDGE_OF_SURFACE * np.diag(within) + _LEAST_VARIANCE)
        between = between + _LEAST_BETWEEN * np.trace(between) / len(between) * np.eye(len(between))
        self.surface = Density.of(within, _BETWEEN_OF_SURFACE * between)
        # Products of small integers are exact in float32, so that a sum does not depend on the other cards.
        self.levels = levels(self.embedded)
        self._known: dict[bytes, Known] = {}

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of what the points of prompts depend on: profiles of another one have other points."""
        digest = hashlib.sha256(self._encoder.fingerprint.encode())
        for array in (self._parameters.center, self._parameters.surface_center, self._parameters.surface_scale):
            digest.update(np.asarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()[:16]

    def points(self, vectors: Floats) -> Doubles:
        """Feature vectors `(prompts, width or more)` as points `(prompts, embedded + surface)`."""
        parameters = self._parameters
        topics = unit_rows(vectors[:, : self.embedded] - parameters.center)
        surface = (vectors[:, self.embedded : self.width] - parameters.surface_center) / parameters.surface_scale
        surface = np.minimum(np.maximum(surface, -CLIP), CLIP) * SURFACE_WEIGHT
        return np.concatenate([topics, surface], axis=1, dtype=np.float64)

    def points_of(self, conversations: Sequence[tuple[str, ...]]) -> Doubles:
        """The points of the human turns of conversations."""
        return self.points(feature_vectors(self._encoder, conversations))

    def _topics_of(self, texts: Sequence[str]) -> Doubles:
        """The topics `(texts, embedded)` of texts, as those of `points_of`."""
        topics = [topic_texts((text,))[-1] for text in texts]
        embeddings = self._encoder.encode(topics)[:, : self.embedded]
        return unit_rows(embeddings - self._parameters.center).astype(np.float64)

    def known(self, cards: Sequence[Card], means: Mapping[str, TaskMean] | None = None) -> list[Known]:
        """What the examples of each of `cards` say, and the means of prompts that are known beside them, by card id."""
        of = [None if means is None else means.get(card.id) for card in cards]
        keys = [_key_of(card, mean) for card, mean in zip(cards, of, strict=True)]
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = {key: (card, mean) for key, card, mean in zip(keys, cards, of, strict=True) if key not in found}
        if missing:
            if len(self._known) + len(missing) > _MOST_KNOWN:
                self._known.clear()
            stated = list(missing.values())
            learned = [
                known for at in range(0, len(stated), _AT_ONCE) for known in self._learned(stated[at : at + _AT_ONCE])
            ]
            self._known |= zip(missing, learned, strict=True)
            found |= zip(missing, learned, strict=True)
        return [found[key] for key in keys]

    def _learned(self, stated: Sequence[tuple[Card, TaskMean | None]]) -> list[Known]:
        points = self.points_of([(text,) for card, _ in stated for text in (*card.examples, *card.not_examples)])
        # The surface of names and descriptions is not that of prompts.
        all_words = self._topics_of([text for card, _ in stated for text in _words(card)])
        embedded = slice(self.embedded)
        means: list[TaskMean] = []
        topics: list[tuple[Floats, Floats, NDArray[np.int8], Floats]] = []
        end = end_of_words = 0
        for card, mean in stated:
            begin, end = end, end + len(card.examples) + len(card.not_examples)
            own, others = np.split(points[begin:end], [len(card.examples)])
            begin, end_of_words = end_of_words, end_of_words + 1 + len(card.not_for)
            of_words = all_words[begin:end_of_words]
            known = TaskMean(np.zeros(self.width), 0) if mean is None else mean
            means.append(known.with_points(own))
            # Only beside negative examples and words is the nearest positive one looked for.
            is_limited = bool(card.not_examples or card.not_for)
            positives = (own if is_limited else own[:0])[:, embedded].astype(np.float32)
            if mean is not None and is_limited:
                positives = np.concatenate([positives, unit_rows(mean.mean[None, embedded].astype(np.float32))])
            text = np.rint(of_words[0] * _TEXT_LEVELS).astype(np.int8)
            negatives, not_for = others[:, embedded].astype(np.float32), of_words[1:].astype(np.float32)
            topics.append((positives, negatives, text, not_for))
        together = np.array([mean.mean for mean in means])
        counts = [min(mean.prompts, MOST_COUNTED) for mean in means]
        topic_rows, topic_constants = self.topics.tasks(np.ascontiguousarray(together[:, embedded]), counts)
        rows, constants = self.surface.tasks(np.ascontiguousarray(together[:, self.embedded :]), counts)
        integers, steps = quantised(topic_rows.astype(np.float32), self.levels)
        return [
            Known(
                counts[at],
                integers[at].astype(np.int8),
                float(steps[at, 0]),
                float(topic_constants[at]),
                rows[at].astype(np.float32),
                float(constants[at]),
                *topics[at],
            )
            for at in range(len(stated))
        ]


def name_of(card: Card) -> str:
    """The words in the id and the aliases of a card."""
    return " ".join(dict.fromkeys(_SEPARATORS.sub(" ", name).strip() for name in card.names))


def description_of(card: Card) -> str:
    """What a card says in words about what it is for, empty where it says nothing."""
    return ". ".join(filter(None, (card.description, *card.good_for)))


def _words(card: Card) -> tuple[str, ...]:
    return f"{name_of(card)}. {description_of(card)}", *card.not_for


def _key_of(card: Card, mean: TaskMean | None) -> bytes:
    stated = card.examples, card.not_examples, _words(card)
    digest = hashlib.sha256(repr(stated).encode("utf-8", "surrogatepass"))
    if mean is not None:
        digest.update(f"{mean.prompts}".encode() + mean.mean.tobytes())
    return digest.digest()
