"""What is computed of prompts before any card is considered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from router.perceive.exact import exp
from router.types import Doubles, Floats

_LEAST_SHARE = 1e-12


class PromptProfile(NamedTuple):
    """`profiles` `(prompts, 1 + skills)` is `x = (1, s)`; `readings` `(prompts, READINGS)` are those of the reader, of
    width zero without one; all others are `(prompts,)`.

    `uncertainty` is the share of a model's residual variance that is the variance of its expected quality, and
    `independent_uncertainty` that share without the part that all models have in common. `log_tokens` is the common
    part of the logarithm of an answer's tokens. `ood_probability` and `novelty` are those of `SkillProjection`.
    """

    profiles: Doubles
    readings: Floats
    uncertainty: Doubles
    independent_uncertainty: Doubles
    log_tokens: Doubles
    ood_probability: Doubles
    novelty: Doubles


def share_between(in_domain: Doubles, out_of_domain: Doubles, ood_probability: Doubles) -> Doubles:
    """The share of the residual variance at an OOD probability: the geometric interpolation of both, because they
    differ by orders of magnitude, and most prompts of known kinds have a probability a little above zero.
    """
    inside, outside = map(logarithm_of, (in_domain, out_of_domain))
    return exp((1.0 - ood_probability) * inside + ood_probability * outside)


def logarithm_of(share: Doubles) -> Doubles:
    """The logarithm of a share of the residual variance, which is not zero."""
    logarithm: Doubles = np.log(np.maximum(share, _LEAST_SHARE))
    return logarithm
