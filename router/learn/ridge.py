"""Two levels of ridge regression, for tables with holes.

    y(z, m) = a_m + d(z) + r_m(z) + noise

`a_m` is how able model m is, `d(z)` how easy prompt z is for an average model (both from an additive fit of
the table, so that models run on different prompts become comparable), `r_m(z)` what is particular to the
model. `d` and `r_m` are linear in the features, each with its own penalty chosen by leave-one-out error. A
model with few outcomes chooses a strong penalty and so falls back to the population.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.linear_model import RidgeCV
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from router.types import Doubles

_EFFECT_ROUNDS = 30
_SHRINK_PROMPT = 1.0
_SHRINK_MODEL = 5.0
_SAME_ROWS = 0.95
_MIN_ROWS = 20


class TwoLevelRidge(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Fits `X` float `(prompts, width)` and `Y` `(prompts, models)` with NaN where a model was not run.

    Learned: `center_`, `scale_` `(width,)`; `ability_` `(models,)`; `common_` `(width,)`, `particular_`
    `(width, models)`: so that `predict` is `ability_ + Z @ (common_[:, None] + particular_)` for standardised
    `Z`. `population_` is the ability of an average model, `residual_std_` `(models,)` the leave-one-out
    error.
    """

    def __init__(self, alphas: tuple[float, ...] = (30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5, 1e6)) -> None:
        self.alphas = alphas

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit; `y` may be one column. A model without any outcome gets the population's forecast."""
        X = validate_data(self, X, dtype=np.float64)  # noqa: N806
        if y is None:
            raise ValueError("TwoLevelRidge requires y to be passed, but the target y is None")
        outcomes = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(X, outcomes)
        self.single_ = outcomes.ndim == 1
        outcomes = outcomes.reshape(len(X), -1)
        known = ~np.isnan(outcomes)
        self.center_ = X.mean(axis=0)
        deviation = X.std(axis=0)
        self.scale_ = np.where(deviation > 1e-9, deviation, 1.0)
        standard = (X - self.center_) / self.scale_
        self.ability_, ease = additive_effects(outcomes)
        self.population_ = float(self.ability_.mean())
        rows = known.any(axis=1)
        self.common_ = self._common(standard[rows], ease[rows])
        residual = outcomes - self.ability_ - (standard @ self.common_)[:, None]
        self.particular_ = np.zeros((X.shape[1], outcomes.shape[1]))
        self.residual_std_ = np.sqrt(np.nanmean(np.square(residual, where=known, out=np.full_like(residual, 0.25)), 0))
        for members in _groups_with_same_rows(known):
            self._fit_group(standard, residual, known, members)
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores, float64 `(prompts, models)`; not clipped."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)  # noqa: N806
        standard = (X - self.center_) / self.scale_
        expected: Doubles = self.ability_ + standard @ (self.common_[:, None] + self.particular_)
        return expected[:, 0] if self.single_ else expected

    def _common(self, standard: Any, ease: Any) -> Any:
        if len(standard) < _MIN_ROWS:
            return np.zeros(standard.shape[1])
        return RidgeCV(alphas=list(self.alphas), fit_intercept=False).fit(standard, ease).coef_

    def _fit_group(self, standard: Any, residual: Any, known: Any, members: list[int]) -> None:
        rows = known[:, members].any(axis=1)
        targets = np.where(known[rows][:, members], residual[rows][:, members], 0.0)
        if rows.sum() < _MIN_ROWS:
            return
        ridge = RidgeCV(alphas=list(self.alphas), alpha_per_target=True).fit(standard[rows], targets)
        self.particular_[:, members] = np.atleast_2d(ridge.coef_).T
        self.ability_[members] += ridge.intercept_
        self.residual_std_[members] = np.sqrt(np.maximum(-np.atleast_1d(ridge.best_score_), 0.0))


def additive_effects(outcomes: Any) -> tuple[Any, Any]:
    """`(ability (models,), ease (prompts,))` of the shrunk additive model `y ≈ ability + ease`, ease about
    zero.
    """
    known = ~np.isnan(outcomes)
    filled = np.where(known, outcomes, 0.0)
    per_model, per_prompt = known.sum(axis=0), known.sum(axis=1)
    mean = filled.sum() / max(known.sum(), 1)
    ease = np.zeros(outcomes.shape[0])
    ability = np.full(outcomes.shape[1], mean)
    for _ in range(_EFFECT_ROUNDS):
        left = filled.sum(axis=0) - (known * ease[:, None]).sum(axis=0)
        ability = (left + _SHRINK_MODEL * mean) / (per_model + _SHRINK_MODEL)
        left = filled.sum(axis=1) - known @ ability
        ease = left / (per_prompt + _SHRINK_PROMPT)
    return ability, ease


def _groups_with_same_rows(known: Any) -> list[list[int]]:
    """Models that were run on nearly the same prompts, so that one decomposition serves them all."""
    groups: list[list[int]] = []
    for model in range(known.shape[1]):
        own = known[:, model]
        for group in groups:
            first = known[:, group[0]]
            both, either = (own & first).sum(), (own | first).sum()
            if either and both >= _SAME_ROWS * either:
                group.append(model)
                break
        else:
            groups.append([model])
    return groups
