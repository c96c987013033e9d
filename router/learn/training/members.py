"""The members of the stack: ridge regressions on different features, their out-of-fold forecasts and their weights."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from scipy.optimize import nnls
from sklearn.model_selection import GroupKFold, KFold

from router.learn.training.landmarks import select_landmarks, spherical_k_means, with_topic_statistics
from router.learn.training.outcome_table import MIN_ROWS, OutcomeTable
from router.learn.training.ridge import ALPHAS, BLOCK, Moments, chosen_alphas, ridge
from router.perceive.skills import SkillParameters, SkillProjector
from router.types import Doubles, Floats, Indices, Mask

_DOMAIN_FOLDS = 8
MIN_DOMAINS = 3
_PRIOR_ROWS = 300
_PRIOR_DOMAINS = 2.0
_STRONGEST = np.array(ALPHAS[-1:])


class MemberMoments(NamedTuple):
    """The moments for the common part, over all rows with outcomes, and for the models of each group."""

    common: Moments
    groups: tuple[Moments, ...]

    @classmethod
    def of(cls, features: Floats, table: OutcomeTable, rows: Indices) -> MemberMoments:
        """The moments of these rows of the table, whose features are `features`."""
        known = table.known[rows]
        any_known = known.any(axis=1)
        groups = []
        for models in table.groups:
            run = known[:, models].any(axis=1)
            groups.append(Moments.of(features[run], table.targets(rows[run], models)))
        return cls(Moments.of(features[any_known], table.targets(rows[any_known], [])), tuple(groups))

    def plus(self, other: MemberMoments) -> MemberMoments:
        """The moments of both."""
        groups = (left.plus(right) for left, right in zip(self.groups, other.groups, strict=True))
        return MemberMoments(self.common.plus(other.common), tuple(groups))

    def minus(self, other: MemberMoments) -> MemberMoments:
        """The moments without those rows."""
        groups = (left.minus(right) for left, right in zip(self.groups, other.groups, strict=True))
        return MemberMoments(self.common.minus(other.common), tuple(groups))


class Penalties(NamedTuple):
    """The ridge penalties of one member: of the common part `(1,)`, and of the models of each group."""

    common: Doubles
    groups: tuple[Doubles, ...]


class OutOfFold(NamedTuple):
    """Forecasts by members that were not fitted on these rows: `common` `(members, rows)`, `specific`
    `(members, rows, models)`, and the rows' `ood_score` `(rows,)`. Only those of `rows` are filled.
    """

    rows: Indices
    common: Doubles
    specific: Floats
    ood_score: Doubles


class CrossValidation:
    """Out-of-fold forecasts of the members on rows that fit into memory."""

    def __init__(self, vectors: Floats, table: OutcomeTable, parameters: SkillParameters, embedded: int) -> None:
        self.vectors, self.table, self._parameters = vectors, table, parameters
        self._embedded, self._members = embedded, member_columns(embedded, parameters)
        self._projector = SkillProjector(parameters)
        self._cosines = self._projector.cosine(vectors) if len(vectors) else np.zeros((0, 1))

    def out_of_fold(self, domains: Any, folds: int, seed: int) -> tuple[OutOfFold, OutOfFold]:
        """In domain: forecasts by members fitted without the prompt. Out of domain: forecasts by members fitted without
        any prompt of its domain, and without the landmarks of that domain.
        """
        in_domain, out_of_domain = self._empty(len(self._members)), self._empty(len(self._members))
        none = out_of_domain._replace(rows=np.zeros(0, np.intp))
        if len(self.vectors) < max(MIN_ROWS, folds):
            return in_domain, none
        standardised = self._projector.standardised(self.vectors)
        similarities = self._projector.similarity(self._cosines)
        features = np.concatenate([standardised, similarities], axis=1, dtype=np.float32)
        parts = [test for _, test in KFold(folds, shuffle=True, random_state=seed).split(features)]
        moments = [MemberMoments.of(features[part], self.table, part) for part in parts]
        total = added(moments)
        penalties = [fit_penalties(total, self.table, columns) for columns in self._members]
        for part, of_part in zip(parts, moments, strict=True):
            fitted = fit_members(total.minus(of_part), self.table, self._members, penalties, features.shape[1])
            _forecast(in_domain, fitted, features[part], part)
        domains = self.domains_or_topics(domains)
        if len(np.unique(domains)) < 2:
            return in_domain, none
        rows = np.flatnonzero(self._leave_domains_out(out_of_domain, domains, standardised, penalties))
        return in_domain, out_of_domain._replace(rows=rows)

    def _leave_domains_out(
        self, forecasts: OutOfFold, domains: Any, standardised: Floats, penalties: Sequence[Penalties]
    ) -> Mask:
        """Fill `forecasts`, leaving out some domains at a time; return a mask of the rows that were filled."""
        filled = np.zeros(len(self.vectors), np.bool_)
        nearest = self._cosines.argmax(axis=1)
        count = np.maximum(np.bincount(nearest, minlength=self._cosines.shape[1]), 1)
        folds = min(_DOMAIN_FOLDS, len(np.unique(domains)))
        for train, test in GroupKFold(folds).split(self.vectors, groups=domains):
            remaining = np.flatnonzero(np.bincount(nearest[test], minlength=len(count)) < 0.5 * count)
            if not len(remaining) or len(train) < MIN_ROWS:
                continue
            cosines = self._cosines[:, remaining]
            selected = select_landmarks(self._parameters, remaining)
            projector = SkillProjector(with_topic_statistics(selected, self.vectors[train], cosines[train]))
            features = np.concatenate([standardised, projector.similarity(cosines)], axis=1, dtype=np.float32)
            moments = MemberMoments.of(features[train], self.table, train)
            columns = member_columns(self._embedded, selected)
            fitted = fit_members(moments, self.table, columns, penalties, features.shape[1])
            _forecast(forecasts, fitted, features[test], test)
            distance = projector.distance(self.vectors[test])
            forecasts.ood_score[test] = projector.ood_score(distance, cosines[test].max(axis=1))
            filled[test] = True
        return filled

    def _empty(self, members: int) -> OutOfFold:
        rows = len(self.vectors)
        return OutOfFold(
            np.arange(rows),
            np.zeros((members, rows)),
            np.zeros((members, rows, self.table.scores.shape[1]), np.float32),
            self._projector.ood_score(self._projector.distance(self.vectors), self._cosines.max(axis=1)),
        )

    def domains_or_topics(self, domains: Any) -> Any:
        """The groups of prompts to leave out as a whole: the domains, or topics if there are fewer than three."""
        return self._topics() if domains is None or len(np.unique(domains)) < MIN_DOMAINS else domains

    def _topics(self) -> Indices:
        """The topic of each prompt, where topics are a few clusters of landmarks."""
        landmarks = self._parameters.landmarks.astype(np.float32) * self._parameters.landmark_scale[:, None]
        centers = spherical_k_means(landmarks, landmarks[:: -(-len(landmarks) // _DOMAIN_FOLDS)])
        topics: Indices = (landmarks @ centers.T).argmax(axis=1)[self._cosines.argmax(axis=1)]
        return topics


def member_columns(embedded: int, parameters: SkillParameters) -> list[Indices]:
    """The columns of `(standardised features, similarities)` that each member uses: linear, local, topic."""
    width, landmarks = len(parameters.center), len(parameters.landmarks)
    topic = width + np.arange(landmarks)
    return [np.arange(width), np.concatenate([np.arange(embedded, width), topic]), topic]


def moments_of_blocks(vectors: Floats, table: OutcomeTable, projector: SkillProjector) -> Iterator[MemberMoments]:
    """The moments of each block of rows."""
    for start in range(0, len(vectors), BLOCK):
        standardised, similarities, _ = projector.features(vectors[start : start + BLOCK])
        features = np.concatenate([standardised, similarities], axis=1, dtype=np.float32)
        yield MemberMoments.of(features, table, np.arange(start, start + len(features)))


def added(moments: Iterable[MemberMoments]) -> MemberMoments:
    """The moments of all parts together."""
    return functools.reduce(MemberMoments.plus, moments)


def fit_penalties(moments: MemberMoments, table: OutcomeTable, columns: Indices) -> Penalties:
    """The penalties of the member on these columns, by generalised cross-validation on all rows."""
    common, weights = _STRONGEST, np.zeros(len(columns))
    if moments.common.rows >= MIN_ROWS:
        about = moments.common.select(columns, np.array([0])).about_mean()
        common = chosen_alphas(about)
        weights = ridge(about, common)[:, 0]
    groups = []
    for models, of_group in zip(table.groups, moments.groups, strict=True):
        if of_group.rows < MIN_ROWS:
            groups.append(np.repeat(_STRONGEST, len(models)))
            continue
        residual = of_group.select(columns, np.arange(len(models))).about_mean().without(weights)
        groups.append(chosen_alphas(residual))
    return Penalties(common, tuple(groups))


def fit_members(
    moments: MemberMoments,
    table: OutcomeTable,
    members: Sequence[Indices],
    penalties: Sequence[Penalties],
    width: int,
) -> list[Doubles]:
    """The weights `(1 + width, models + 1)` of each member, intercept first: model-specific parts, then the common
    part.
    """
    fitted = []
    for columns, penalty in zip(members, penalties, strict=True):
        weights = np.zeros((1 + width, table.scores.shape[1] + 1))
        common = np.zeros(len(columns))
        if moments.common.rows >= MIN_ROWS:
            about = moments.common.select(columns, np.array([0])).about_mean()
            common = ridge(about, penalty.common)[:, 0]
            weights[1 + columns, -1] = common
            weights[0, -1] = -(about.x @ common)
        for models, of_group, alphas in zip(table.groups, moments.groups, penalty.groups, strict=True):
            if of_group.rows < MIN_ROWS:
                continue
            residual = of_group.select(columns, np.arange(len(models))).about_mean().without(common)
            specific = ridge(residual, alphas)
            weights[1 + columns[:, None], models] = specific
            weights[0, models] = residual.y - weights[0, -1] - residual.x @ specific
        fitted.append(weights)
    return fitted


def _forecast(forecasts: OutOfFold, fitted: Sequence[Doubles], features: Floats, rows: Indices) -> None:
    for member, weights in enumerate(fitted):
        forecast = weights[0] + features @ weights[1:]
        forecasts.common[member, rows], forecasts.specific[member, rows] = forecast[:, -1], forecast[:, :-1]


def member_weights(in_domain: OutOfFold, table: OutcomeTable) -> Doubles:
    """Each model's weights of the members `(models, 2 · members)`: of the common parts, then of the specific ones."""
    members, models = len(in_domain.common), table.scores.shape[1]
    products = np.zeros((models, 2 * members, 2 * members))
    along = np.zeros((models, 2 * members))
    for model in range(models):
        known = table.known[:, model]
        parts = np.concatenate([in_domain.common[:, known], in_domain.specific[:, known, model]]).astype(np.float64)
        products[model] = parts @ parts.T
        along[model] = parts @ (table.scores[known, model] - table.ability[model])
    rows = max(int(table.known.sum()), 1)
    equal = np.full(2 * members, 1.0 / members)
    mean = products.sum(axis=0) / rows
    shared = _least_squares(mean, along.sum(axis=0) / rows, mean * 1e-3, equal)
    return np.stack(
        [_least_squares(products[model], along[model], mean * _PRIOR_ROWS, shared) for model in range(models)]
    )


class Blend(Struct, frozen=True, eq=False):
    """How the members' forecasts are put together: each model's `weights` of the members `(models, 2 · members)`, and
    the `out_of_domain_level`, which is added to the forecast of the topic member out of domain.
    """

    weights: Doubles
    out_of_domain_level: float

    def __call__(self, forecasts: OutOfFold, table: OutcomeTable, parameters: SkillParameters) -> Blended:
        """The forecasts of `forecasts.rows` as the predictor serves them."""
        rows = forecasts.rows
        common, specific = forecasts.common[:, rows], forecasts.specific[:, rows]
        parts = np.concatenate([np.broadcast_to(common[..., None], specific.shape), specific])
        stacked = np.einsum("jnm,mj->nm", parts, self.weights)
        topic = self.out_of_domain_level + common[-1][:, None] + specific[-1]
        probability = SkillProjector(parameters).ood_probability(forecasts.ood_score[rows])
        expected = table.ability + stacked + probability[:, None] * (topic - stacked)
        return Blended(table.rows(rows), expected, probability)


class Blended(NamedTuple):
    """Expected scores `(rows, models)` beside the `table` of the same rows, and their OOD probability `(rows,)`."""

    table: OutcomeTable
    expected: Doubles
    ood_probability: Doubles


def out_of_domain_level(ability: Doubles, domains: Any) -> float:
    """What is added to all forecasts out of domain: the mean score of a new domain is estimated from the means of the
    known `domains`, and from the middle of the scale with the weight of a few. Zero where there are too few domains.
    """
    count = 0 if domains is None else len(np.unique(domains))
    return float((0.5 - ability.mean()) * _PRIOR_DOMAINS / (count + _PRIOR_DOMAINS)) if count >= MIN_DOMAINS else 0.0


def _least_squares(product: Doubles, along: Doubles, prior: Doubles, toward: Doubles) -> Doubles:
    """The weights `w >= 0` that minimise `wᵀ product w - 2 along · w + (w - toward)ᵀ prior (w - toward)`."""
    scale = np.trace(product + prior) / len(product)
    if not scale > 1e-12:
        return toward
    both = product + prior + 1e-6 * scale * np.eye(len(product))
    lower = np.linalg.cholesky(both)
    right = np.linalg.solve(lower, along + prior @ toward + 1e-6 * scale * toward)
    return np.asarray(nnls(lower.T, right)[0])
