"""The profile of a card: what many prompts or documents say it is for, and outcomes of its probes, without any text.

A profile is made from texts that stay where they are (`route cards profile`), and is read from `profiles/CARD.npz`
(`router.perceive.purpose.profile_file`). Its mean counts like the examples on a card. The owner of a model may publish
it with the outcomes of its probes, so that others can choose the model without a call to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np
from msgspec import Struct

from router.perceive.purpose.density import TaskMean
from router.perceive.purpose.space import PurposeSpace
from router.types import Doubles, Floats

MOST_DIRECTIONS = 16
"""The scatter is kept along so many directions, and as a variance of each number beyond them."""


class Profile(Struct, frozen=True, eq=False):
    """`count` prompts with the mean `(numbers,)` of their points in the space with the fingerprint `space`.

    Their scatter is `directionsᵀ directions + diag(rest)`, of `directions` `(at most 16, numbers)` and `rest`
    `(numbers,)`. `vectors` `(outcomes, width)` and `scores` `(outcomes,)` are outcomes of probes, as the predictor
    with the reader `reader` reads them. All float32 but the scores, float64. `origin` names the file in messages.
    """

    space: str
    count: int
    mean: Floats
    directions: Floats
    rest: Floats
    reader: str
    vectors: Floats
    scores: Doubles
    origin: str = ""

    @classmethod
    def of(cls, space: PurposeSpace, blocks: Iterable[Doubles]) -> Self:
        """The profile of prompts with these points, block by block `(prompts, numbers)`; without outcomes."""
        count, total = 0, np.zeros(space.width)
        squares = np.zeros((space.width, space.width))
        for points in blocks:
            count += len(points)
            total += points.sum(axis=0)
            squares += points.T @ points
        mean = total / max(count, 1)
        directions, rest = _leading(squares / max(count, 1) - np.outer(mean, mean), min(MOST_DIRECTIONS, count))
        nothing = np.zeros((0, 0), dtype=np.float32), np.zeros(0)
        return cls(space.fingerprint, count, mean.astype(np.float32), directions, rest, "", *nothing)

    @property
    def task(self) -> TaskMean | None:
        """What counts like examples; None for a profile of outcomes alone."""
        return TaskMean(self.mean.astype(np.float64), self.count) if self.count else None

    def joined(self, other: Profile) -> Profile:
        """The profile of the prompts of both, with the outcomes of this one."""
        counts = np.array([self.count, other.count], dtype=np.float64)
        if not counts.all():
            return self if self.count else _with_outcomes(other, self)
        shares = counts / counts.sum()
        means = self.mean.astype(np.float64), other.mean.astype(np.float64)
        mean = shares[0] * means[0] + shares[1] * means[1]
        apart = shares[0] * shares[1] * np.outer(means[0] - means[1], means[0] - means[1])
        scatter = shares[0] * self.scatter() + shares[1] * other.scatter() + apart
        directions, rest = _leading(scatter, MOST_DIRECTIONS)
        together = Profile(
            self.space, int(counts.sum()), mean.astype(np.float32), directions, rest, "", self.vectors, self.scores
        )
        return _with_outcomes(together, self)

    def scatter(self) -> Doubles:
        """The covariance `(numbers, numbers)` of the prompts' points."""
        directions = self.directions.astype(np.float64)
        scatter: Doubles = directions.T @ directions + np.diag(self.rest.astype(np.float64))
        return scatter

    def spread(self, space: PurposeSpace) -> float:
        """How far the topics of the prompts are spread, as a multiple of the usual variance within one task."""
        axes = space.topics.axes
        along = np.square(self.directions[:, : space.embedded].astype(np.float64) @ axes).sum()
        beyond = self.rest[: space.embedded].astype(np.float64) @ np.square(axes).sum(axis=1)
        return float(along + beyond) / space.embedded


def with_outcomes(profile: Profile, reader: str, vectors: Floats, scores: Doubles) -> Profile:
    """`profile` with these outcomes in place of its own."""
    return Profile(
        profile.space,
        profile.count,
        profile.mean,
        profile.directions,
        profile.rest,
        reader if len(scores) else "",
        vectors,
        scores,
    )


def _with_outcomes(profile: Profile, source: Profile) -> Profile:
    return with_outcomes(profile, source.reader, source.vectors, source.scores)


def _leading(scatter: Doubles, most: int) -> tuple[Floats, Floats]:
    """The leading directions of a covariance `(directions, numbers)`, and the variances beyond them `(numbers,)`."""
    variances, axes = np.linalg.eigh(scatter)
    leading = slice(len(variances) - most, None)
    directions = (axes[:, leading] * np.sqrt(np.maximum(variances[leading], 0.0))).T
    rest = np.maximum(np.diag(scatter) - np.square(directions).sum(axis=0), 0.0)
    return directions.astype(np.float32), rest.astype(np.float32)
