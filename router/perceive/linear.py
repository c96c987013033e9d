"""Qualities in the linear form: the expected score is `x · m`, on the scale of the scores that were learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from router.perceive.ability.ability import Ability
from router.perceive.exact import exp
from router.perceive.head import GREATEST_LOG_TOKENS, Head
from router.perceive.profile import PromptProfile
from router.types import GREATEST_STD, Doubles, Indices

_GREATEST_TOKENS = 8192.0
_BEND = 0.05


class Quality(NamedTuple):
    """Of one prompt, for each card `(cards,)`: the expected quality, its standard deviation, the part of that which
    cards do not share, and the quality by which cards are compared.
    """

    quality: Doubles
    std: Doubles
    independent_std: Doubles
    compared: Doubles


class LinearQuality:
    """The qualities of cards with these abilities; `rows` are the cards' rows of the head's residual variance, and
    `average` `(1 + skills,)` is the mean ability of the measured models.
    """

    def __init__(self, head: Head, abilities: Sequence[Ability], rows: Indices, average: Doubles) -> None:
        size = head.ability.shape[1]
        self._abilities = np.array([ability.mean for ability in abilities]).reshape(-1, size)
        self._particular, self._beyond_average = head.particular, self._abilities - average
        self._variance = head.variance[rows]
        self.mean_quality = quality_of(self._abilities[:, 0])
        # Cards with the same covariance share one matrix.
        matrices: dict[bytes, int] = {}
        self._matrix_of_card: Indices = np.array(
            [matrices.setdefault(ability.covariance.tobytes(), len(matrices)) for ability in abilities], dtype=np.intp
        )
        self._covariances = np.frombuffer(b"".join(matrices)).reshape(-1, size, size)
        self._mean_variances = (self._covariances * head.second_moment).sum(axis=(1, 2))

    def __call__(self, prompt: PromptProfile) -> Quality:
        """The qualities on the first of the prompts."""
        profile = prompt.profiles[0]
        # Summed row by row: a matrix product may round a card's sum differently when other cards are added.
        expected = (self._abilities * profile).sum(axis=1)
        variances = ((self._covariances @ profile) * profile).sum(axis=1)
        variances = np.maximum(variances, prompt.ood_probability[0] * self._mean_variances)
        shares = np.array([prompt.uncertainty, prompt.independent_uncertainty])
        std, independent_std = deviation_of(shares * self._variance + variances[self._matrix_of_card])
        quality = quality_of(expected)
        if self._particular is None:
            return Quality(quality, std, independent_std, quality)
        skills = profile.copy()
        skills[0] = 0.0
        particular = (self._beyond_average * skills).sum(axis=1)
        excess = 1.0 - factor_of(self._particular, prompt.ood_probability)[0]
        return Quality(quality, std, independent_std, quality_of(expected - excess * particular))


def factor_of(factors: Doubles, ood_probability: Doubles) -> Doubles:
    """The factor with which choices count what is particular to a card, at these OOD probabilities: from the first of
    `factors` it goes linearly to the second, which holds from the probability that is the third.
    """
    in_domain, out_of_domain, limit = factors
    factor: Doubles = in_domain + np.minimum(ood_probability / limit, 1.0) * (out_of_domain - in_domain)
    return factor


def quality_of(expected: Doubles) -> Doubles:
    """Expected scores as qualities in (0, 1), rounded to six decimals, since later digits are numerical noise."""
    return _squashed(expected).round(6)


def deviation_of(variance: Doubles) -> Doubles:
    """The standard deviation of an expected quality, rounded to six decimals."""
    deviation: Doubles = np.minimum(np.sqrt(np.maximum(variance, 1e-10)), GREATEST_STD).round(6)
    return deviation


def tokens_of(logarithm: Doubles) -> Doubles:
    """Tokens of an answer from the logarithm of one plus them, rounded."""
    bounded = np.minimum(logarithm, GREATEST_LOG_TOKENS)
    tokens: Doubles = np.minimum(np.maximum(exp(bounded) - 1.0, 1.0), _GREATEST_TOKENS)
    return tokens.round()


def _squashed(quality: Doubles) -> Doubles:
    """`quality`, unchanged in the middle and bent smoothly towards 0 and 1 near the ends; the order is preserved."""
    low, high = np.maximum(_BEND - quality, 0.0), np.maximum(quality - (1.0 - _BEND), 0.0)
    middle = np.minimum(np.maximum(quality, _BEND), 1.0 - _BEND)
    bent: Doubles = middle + high * (_BEND / (_BEND + high)) - low * (_BEND / (_BEND + low))
    return bent
