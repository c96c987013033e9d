"""Fitting the covariances by which examples of cards are compared with prompts (`router.perceive.purpose.space`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router.perceive.purpose.space import PurposeParameters, PurposeSpace
from router.perceive.text.encoder import Encoder
from router.types import Doubles, Floats

_LEAST_PROMPTS = 8
_LEAST_SCALE = 1e-3


class TaskSet(NamedTuple):
    """Feature vectors `(prompts, width)` of one data set, and the task of each prompt."""

    vectors: Floats
    tasks: Sequence[str]


def fit_purpose(sets: Sequence[TaskSet], encoder: Encoder) -> PurposeParameters:
    """The covariances within and between the tasks of `sets`; every set weighs the same, and every task of a set.

    The first set is the one of everyday prompts: its mean is the centre, and its tasks alone give `topic_within`.
    """
    embedded = encoder.dimensions
    center = sets[0].vectors[:, :embedded].mean(axis=0)
    surfaces = [of.vectors[:, embedded:].astype(np.float64) for of in sets]
    mean = np.mean([surface.mean(axis=0) for surface in surfaces], axis=0)
    square = np.mean([np.square(surface - mean).mean(axis=0) for surface in surfaces], axis=0)
    scale = np.sqrt(square) + _LEAST_SCALE
    topic, surface = np.eye(embedded), np.eye(len(mean))
    empty = PurposeParameters(center, mean, scale, topic, topic, surface, surface)
    points = [PurposeSpace(empty, encoder).points(of.vectors) for of in sets]
    withins = [_within(of, list(group.tasks)) for of, group in zip(points, sets, strict=True)]
    overall = np.mean([of.mean(axis=0) for of in points], axis=0)
    between = np.mean([(of - overall).T @ (of - overall) / len(of) for of in points], axis=0)
    of_topics, of_surface = slice(embedded), slice(embedded, None)
    within = np.mean(withins, axis=0)
    topics = withins[0][of_topics, of_topics], between[of_topics, of_topics]
    squares = within[of_surface, of_surface], between[of_surface, of_surface]
    return PurposeParameters(center, mean, scale, *topics, *squares)


def _within(points: Doubles, tasks: Sequence[str]) -> Doubles:
    """The mean covariance of the prompts of a task."""
    names = np.array(tasks)
    groups = [points[names == name] for name in sorted(set(tasks))]
    covariances = [np.cov(group.T) for group in groups if len(group) >= _LEAST_PROMPTS]
    within: Doubles = np.mean(covariances, axis=0)
    return within
