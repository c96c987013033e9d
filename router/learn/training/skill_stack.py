"""Learning skills from a table of outcomes: a stack of ridge regressions, written as skills and abilities.

    y(z, m) = a_m + d(z) + r_m(z) + noise

`a_m` is the ability of model m, `d(z)` the ease of the prompt for an average model (the common part), `r_m(z)` the part
specific to the model. Three members forecast `d` and `r`, each a ridge regression on other features:

- linear: the embedding and the surface features;
- local: the surface features and the similarity to landmarks, which is kernel regression with landmarks as its basis;
- topic: the similarity alone. Ridge regression on memberships of soft clusters estimates the clusters' mean errors
  (UniRoute, Avengers), shrunk more for clusters with fewer prompts.

Each model weighs the members by non-negative least squares on out-of-fold forecasts, shrunk to the weights that serve
all models. Out of domain, only the topic member forecasts. How uncertain forecasts are, and how far choices may follow
them, is estimated from forecasts out of fold and from forecasts of domains that were left out. Finally the
item-response form: the weights of all members together are one matrix, whose leading singular vectors are the skills,
and a model's coordinates in them are its ability.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from router.learn.training.decisions import particular_factors
from router.learn.training.landmarks import initial_parameters, replace_arrays, with_ood_probability
from router.learn.training.members import (
    Blend,
    CrossValidation,
    added,
    fit_members,
    fit_penalties,
    member_weights,
    members_of,
    moments_of_blocks,
    out_of_domain_level,
)
from router.learn.training.outcome_table import OutcomeTable
from router.learn.training.uncertainty import estimate_uncertainty
from router.perceive.skills import SkillParameters, SkillProjector
from router.types import Doubles, Floats

_VALIDATION_ROWS = 30_000
_SKILL_ROWS = 4_000


class SkillStack(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Fits `X` float `(prompts, width)` and `y` `(prompts, models)`, NaN where a model was not run.

    The first `embedded` columns of `X` are the embedding (None: all of them), the rest surface features. `groups` of
    `fit` are the prompts' domains. Learned: `projector_`, `bias_` `(models,)`, `ability_` `(models, skills)`, so that
    `predict` is `bias_ + projector_(X).skills @ ability_.T`; `uncertainty_`; `particular_` `(3,)`, how far choices may
    follow what is particular to a model; and `weights_` `(models, 6)`, each model's weights of the members' common and
    specific parts.
    """

    def __init__(
        self,
        embedded: int | None = None,
        landmarks: int = 512,
        sharpness: float = 5.0,
        skills: int = 32,
        folds: int = 5,
        out_of_domain_share: float = 0.15,
        random_state: int = 0,
    ) -> None:
        self.embedded = embedded
        self.landmarks = landmarks
        self.sharpness = sharpness
        self.skills = skills
        self.folds = folds
        self.out_of_domain_share = out_of_domain_share
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit; `y` may be one column. A model without outcomes gets an average ability."""
        if y is None:
            raise ValueError("SkillStack requires y to be passed, but the target y is None")
        X = validate_data(self, X, dtype=np.float32)  # noqa: N806
        outcomes = check_array(y, dtype=np.float32, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(X, outcomes, groups)
        self.single_ = outcomes.ndim == 1
        table = OutcomeTable(outcomes.reshape(len(X), -1))
        rng = np.random.default_rng(self.random_state)
        embedded = X.shape[1] if self.embedded is None else min(self.embedded, X.shape[1])
        parameters = initial_parameters(X, embedded, self.landmarks, self.sharpness, rng)
        rows = np.flatnonzero(table.any_known)
        if len(rows) > _VALIDATION_ROWS:
            rows = np.sort(rng.choice(rows, _VALIDATION_ROWS, replace=False))
        validation = CrossValidation(X[rows], table.rows(rows), parameters, embedded)
        domains = None if groups is None else np.asarray(groups)[rows]
        in_domain, out_of_domain = validation.out_of_fold(domains, self.folds, self.random_state)
        left_out = np.unique(validation.domains_or_topics(domains), return_inverse=True)[1]
        blend = Blend(
            member_weights(in_domain, validation.table),
            out_of_domain_level(validation.table.ability, domains),
        )
        parameters = with_ood_probability(
            parameters, in_domain.ood_score, out_of_domain.ood_score[out_of_domain.rows], self.out_of_domain_share
        )
        self.weights_ = blend.weights
        inside, outside = (blend(part, validation.table, parameters) for part in (in_domain, out_of_domain))
        known = None if domains is None else len(np.unique(domains))
        self.uncertainty_ = estimate_uncertainty(inside, outside, left_out[out_of_domain.rows], known)
        self.particular_ = particular_factors(inside, outside, left_out[out_of_domain.rows])
        members = members_of(embedded, parameters)
        moments = added(moments_of_blocks(X, table, SkillProjector(parameters), members))
        penalties = [fit_penalties(moments, table, member) for member in members]
        fitted = fit_members(moments, table, members, penalties, X.shape[1] + len(parameters.landmarks))
        self.projector_, self.bias_, self.ability_ = self._factorised(X, table, parameters, fitted, blend, rng)
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores, float64 `(prompts, models)`; not clipped."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)  # noqa: N806
        expected: Doubles = self.bias_ + self.projector_(X).skills @ self.ability_.T
        return expected[:, 0] if self.single_ else expected

    def _factorised(
        self,
        vectors: Floats,
        table: OutcomeTable,
        parameters: SkillParameters,
        members: Sequence[Doubles],
        blend: Blend,
        rng: np.random.Generator,
    ) -> tuple[SkillProjector, Doubles, Doubles]:
        """The weighted members written as skills, biases and abilities."""
        models = table.scores.shape[1]
        parts = [member[:, -1:] for member in members] + [member[:, :-1] for member in members]
        in_domain = sum(part * weight for part, weight in zip(parts, blend.weights.T, strict=True))
        out_of_domain = members[-1][:, -1:] + members[-1][:, :-1]
        out_of_domain[0] += blend.out_of_domain_level
        rows = np.sort(rng.choice(len(vectors), min(_SKILL_ROWS, len(vectors)), replace=False))
        regressors = SkillProjector(parameters)(vectors[rows]).regressors
        mean = (regressors @ in_domain).mean(axis=0)
        in_domain[0] -= mean
        out_of_domain[0] -= mean
        forecasts = np.concatenate([regressors @ in_domain, regressors @ out_of_domain])
        _, sizes, directions = np.linalg.svd(forecasts, full_matrices=False)
        count = max(1, min(self.skills, int((sizes > 1e-9 * max(float(sizes[0]), 1e-9)).sum()), models))
        # The sign of a singular vector is arbitrary; choose the one with which the models' abilities sum to no less
        # than zero.
        directions = directions[:count] * np.where(directions[:count].sum(axis=1) < 0, -1.0, 1.0)[:, None]
        spread = np.maximum(sizes[:count] / np.sqrt(2 * len(rows)), 1e-9)
        parameters = replace_arrays(
            parameters, in_domain=in_domain @ directions.T / spread, out_of_domain=out_of_domain @ directions.T / spread
        )
        return SkillProjector(parameters), table.ability + mean, np.asarray(directions.T * spread)
