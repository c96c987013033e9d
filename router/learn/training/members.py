"""The members of the stack: ridge regressions on different features, their out-of-fold forecasts and their weights."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from scipy.optimize import nnls
from sklearn.model_selection import GroupKFold, KFold

from router.learn.training.landmarks import (
    distances,
    features_of,
    select_landmarks,
    softmax,
    spherical_k_means,
    standardise_without,
    standardised,
    with_ood_score,
    with_topic_axes,
)
from router.learn.training.outcome_table import MIN_ROWS, OutcomeTable
from router.learn.training.ridge import ALPHAS, BLOCK, Moments, Rows, chosen_alphas, ridge
from router.perceive.skills import SkillParameters, SkillProjector, topics_of
from router.types import Doubles, Floats, Indices, Mask

_DOMAIN_FOLDS = 8
MIN_DOMAINS = 3
_PRIOR_ROWS = 300
_PRIOR_DOMAINS = 2.0
_STRONGEST = np.array(ALPHAS[-1:])
_ROWS_SUMMED_ONCE = 128
"""Adding sums takes about as long as forming them over so many rows."""


class Member(NamedTuple):
    """The features that a member uses: the number of its block in the moments, the first column of that block among all
    features, and its columns within the block.
    """

    block: int
    offset: int
    columns: Indices

    @property
    def features(self) -> slice:
        """The member's columns among all features, which follow one another."""
        return slice(self.offset + int(self.columns[0]), self.offset + int(self.columns[-1]) + 1)


class MemberMoments(NamedTuple):
    """The moments of one block of features: for the common part, over all rows with outcomes, and for the models of
    each group.
    """

    common: Moments
    groups: tuple[Moments, ...]

    @classmethod
    def of(cls, features: Rows, table: OutcomeTable, rows: Indices) -> MemberMoments:
        """The moments of these rows of the table, whose features are `features`.

        Rows that the same groups were run on are summed once, for the common part and for all these groups. Where they
        are few they are summed once for each: to add their sums would take longer than to form them.
        """
        known = table.known[rows]
        models_of = [[], *table.groups]  # The common part is like a group whose only target is the ease.
        ran = np.stack([known.any(axis=1), *(known[:, models].any(axis=1) for models in table.groups)], axis=1)
        codes = ran @ (1 << np.arange(len(models_of)))
        values, counts = np.unique(codes, return_counts=True)
        many = values[(counts >= _ROWS_SUMMED_ONCE) & (values > 0)]
        few = ~np.isin(codes, many)
        numbers = range(len(models_of))
        parts = [(codes == code, [number for number in numbers if code >> number & 1]) for code in many.tolist()]
        parts += [(few & ran[:, number], [number]) for number in numbers]
        sums = [Moments.zero(features.shape[1], len(models) + 1) for models in models_of]
        for selected, of_part in parts:
            if not selected.any():
                continue
            some, their_rows = (features, rows) if selected.all() else (features[selected], rows[selected])
            models = [model for number in of_part for model in models_of[number]]
            moments = Moments.of(some, table.targets(their_rows, models))
            first = 0
            for number in of_part:
                last = first + len(models_of[number])
                sums[number] = sums[number].plus(moments.of_targets([*range(first, last), len(models)]))
                first = last
        return cls(sums[0], tuple(sums[1:]))

    @classmethod
    def of_blocks(cls, features: Rows, table: OutcomeTable, rows: Indices) -> MemberMoments:
        """The moments of these rows of `features` and of the table, some rows at a time."""
        blocks = np.array_split(rows, -(-len(rows) // BLOCK))
        return functools.reduce(MemberMoments.plus, (cls.of(features[block], table, block) for block in blocks))

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
        self._embedded, self._members = embedded, members_of(embedded, parameters)
        projector = SkillProjector(parameters)
        cosines = projector.cosine(vectors) if len(vectors) else np.zeros((0, 1))
        self._standardised, self._topic = projector.standardised(vectors), topics_of(vectors, parameters)
        self._nearest, self._nearest_cosine = cosines.argmax(axis=1), cosines.max(axis=1)
        self._below_nearest = (cosines - self._nearest_cosine[:, None]).astype(np.float32)
        self._ood_score = projector.ood_score(distances(self._topic, parameters), self._nearest_cosine)

    def out_of_fold(self, domains: Any, folds: int, seed: int) -> tuple[OutOfFold, OutOfFold]:
        """In domain: forecasts by members fitted without the prompt. Out of domain: forecasts by members fitted without
        any prompt of its domain, and without the landmarks of that domain.
        """
        in_domain, out_of_domain = self._empty(), self._empty()
        none = out_of_domain._replace(rows=np.zeros(0, np.intp))
        if len(self.vectors) < max(MIN_ROWS, folds):
            return in_domain, none
        parameters = self._parameters
        similarities = softmax(self._below_nearest, parameters)
        standardised(similarities, parameters.similarity_center, parameters.similarity_scale)
        features = np.concatenate([self._standardised, similarities], axis=1, dtype=np.float32)
        parts = [test for _, test in KFold(folds, shuffle=True, random_state=seed).split(features)]
        moments = [moments_of(features[part], self.table, part, self._members) for part in parts]
        total = added(moments)
        penalties = [fit_penalties(total, self.table, member) for member in self._members]
        for part, of_part in zip(parts, moments, strict=True):
            others = tuple(all_rows.minus(some) for all_rows, some in zip(total, of_part, strict=True))
            fitted = fit_members(others, self.table, self._members, penalties, features.shape[1])
            _forecast(in_domain, self._members, fitted, features[part], part)
        domains = self.domains_or_topics(domains)
        if len(np.unique(domains)) < 2:
            return in_domain, none
        rows = np.flatnonzero(self._leave_domains_out(out_of_domain, domains, features, total[0], penalties))
        return in_domain, out_of_domain._replace(rows=rows)

    def _leave_domains_out(
        self,
        forecasts: OutOfFold,
        domains: Any,
        features: Floats,
        linear: MemberMoments,
        penalties: Sequence[Penalties],
    ) -> Mask:
        """Fill `forecasts`, leaving out some domains at a time; return a mask of the rows that were filled. `linear`
        are the moments of the first block of features over all rows; the columns after it are overwritten.
        """
        filled = np.zeros(len(self.vectors), np.bool_)
        count = np.maximum(np.bincount(self._nearest, minlength=self._below_nearest.shape[1]), 1)
        folds, width = min(_DOMAIN_FOLDS, len(np.unique(domains))), self._standardised.shape[1]
        second_moment = _second_moment(self._topic)
        for train, test in GroupKFold(folds).split(self.vectors, groups=domains):
            remaining = np.flatnonzero(np.bincount(self._nearest[test], minlength=len(count)) < 0.5 * count)
            if not len(remaining) or len(train) < MIN_ROWS:
                continue
            similarities, nearest = self._among(remaining)
            standardise_without(similarities, test)
            of_fold = features[:, : width + len(remaining)]
            of_fold[:, width:] = similarities
            selected = select_landmarks(self._parameters, remaining)
            members = members_of(self._embedded, selected)
            # The difference of two sums has the rounding error of the greater one.
            summed = train if len(train) < len(test) else test
            of_linear = MemberMoments.of_blocks(of_fold[:, :width], self.table, summed)
            of_topics = _second_moment(self._topic[summed])
            if summed is test:
                of_linear, of_topics = linear.minus(of_linear), second_moment - of_topics
            of_local = MemberMoments.of_blocks(of_fold[:, self._embedded :], self.table, train)
            fitted = fit_members((of_linear, of_local), self.table, members, penalties, of_fold.shape[1])
            _forecast(forecasts, members, fitted, of_fold[test], test)
            selected = with_topic_axes(selected, of_topics / len(train))
            distance = distances(self._topic, selected)
            projector = SkillProjector(with_ood_score(selected, distance[train], nearest[train]))
            forecasts.ood_score[test] = projector.ood_score(distance[test], nearest[test])
            filled[test] = True
        return filled

    def _among(self, landmarks: Indices) -> tuple[Floats, Doubles]:
        """The similarities to some landmarks, as if there were no others, and the cosine to the nearest of them."""
        below_nearest = self._below_nearest[:, landmarks]
        return softmax(below_nearest, self._parameters), self._nearest_cosine + below_nearest.max(axis=1)

    def _empty(self) -> OutOfFold:
        rows, members = len(self.vectors), len(self._members)
        return OutOfFold(
            np.arange(rows),
            np.zeros((members, rows)),
            np.zeros((members, rows, self.table.scores.shape[1]), np.float32),
            self._ood_score.copy(),
        )

    def domains_or_topics(self, domains: Any) -> Any:
        """The groups of prompts to leave out as a whole: the domains, or topics if there are fewer than three."""
        return self._topics() if domains is None or len(np.unique(domains)) < MIN_DOMAINS else domains

    def _topics(self) -> Indices:
        """The topic of each prompt, where topics are a few clusters of landmarks."""
        landmarks = self._parameters.landmarks.astype(np.float32) * self._parameters.landmark_scale[:, None]
        centers = spherical_k_means(landmarks, landmarks[:: -(-len(landmarks) // _DOMAIN_FOLDS)])
        topics: Indices = (landmarks @ centers.T).argmax(axis=1)[self._nearest]
        return topics


def members_of(embedded: int, parameters: SkillParameters) -> list[Member]:
    """The members linear, local, topic. Features are the embedding, the surface features and the similarities; the
    first block of moments leaves out the similarities, the second the embedding, since no member uses both.
    """
    width, landmarks = len(parameters.center), len(parameters.landmarks)
    local = np.arange(width + landmarks - embedded)
    return [Member(0, 0, np.arange(width)), Member(1, embedded, local), Member(1, embedded, local[width - embedded :])]


def moments_of(
    features: Floats, table: OutcomeTable, rows: Indices, members: Sequence[Member]
) -> tuple[MemberMoments, ...]:
    """The moments of both blocks of features, of these rows of the table."""
    linear, local, _ = members
    return tuple(MemberMoments.of(features[:, member.features], table, rows) for member in (linear, local))


def moments_of_blocks(
    vectors: Floats, table: OutcomeTable, projector: SkillProjector, members: Sequence[Member]
) -> Iterator[tuple[MemberMoments, ...]]:
    """The moments of each block of rows."""
    for start in range(0, len(vectors), BLOCK):
        features = features_of(vectors[start : start + BLOCK], projector)
        yield moments_of(features, table, np.arange(start, start + len(features)), members)


def added(moments: Iterable[tuple[MemberMoments, ...]]) -> tuple[MemberMoments, ...]:
    """The moments of all parts together."""
    return functools.reduce(lambda left, right: tuple(map(MemberMoments.plus, left, right)), moments)


def fit_penalties(moments: Sequence[MemberMoments], table: OutcomeTable, member: Member) -> Penalties:
    """The penalties of the member, by generalised cross-validation on all rows."""
    of_block, columns = moments[member.block], member.columns
    common, weights = _STRONGEST, np.zeros(len(columns))
    if of_block.common.rows >= MIN_ROWS:
        about = of_block.common.select(columns, np.array([0])).about_mean()
        common = chosen_alphas(about)
        weights = ridge(about, common)[:, 0]
    groups = []
    for models, of_group in zip(table.groups, of_block.groups, strict=True):
        if of_group.rows < MIN_ROWS:
            groups.append(np.repeat(_STRONGEST, len(models)))
            continue
        residual = of_group.select(columns, np.arange(len(models))).about_mean().without(weights)
        groups.append(chosen_alphas(residual))
    return Penalties(common, tuple(groups))


def fit_members(
    moments: Sequence[MemberMoments],
    table: OutcomeTable,
    members: Sequence[Member],
    penalties: Sequence[Penalties],
    width: int,
) -> list[Doubles]:
    """The weights `(1 + width, models + 1)` of each member, intercept first: model-specific parts, then the common
    part.
    """
    fitted = []
    for member, penalty in zip(members, penalties, strict=True):
        weights = np.zeros((1 + width, table.scores.shape[1] + 1))
        of_block, columns = moments[member.block], member.columns
        of_features = weights[1:][member.features]
        common = np.zeros(len(columns))
        if of_block.common.rows >= MIN_ROWS:
            about = of_block.common.select(columns, np.array([0])).about_mean()
            common = ridge(about, penalty.common)[:, 0]
            of_features[:, -1] = common
            weights[0, -1] = -(about.x @ common)
        for models, of_group, alphas in zip(table.groups, of_block.groups, penalty.groups, strict=True):
            if of_group.rows < MIN_ROWS:
                continue
            residual = of_group.select(columns, np.arange(len(models))).about_mean().without(common)
            specific = ridge(residual, alphas)
            of_features[:, models] = specific
            weights[0, models] = residual.y - weights[0, -1] - residual.x @ specific
        fitted.append(weights)
    return fitted


def _forecast(
    forecasts: OutOfFold, members: Sequence[Member], fitted: Sequence[Doubles], features: Floats, rows: Indices
) -> None:
    for number, (member, weights) in enumerate(zip(members, fitted, strict=True)):
        forecast = features[:, member.features] @ weights[1:][member.features].astype(np.float32) + weights[0]
        forecasts.common[number, rows], forecasts.specific[number, rows] = forecast[:, -1], forecast[:, :-1]


def _second_moment(topics: Floats) -> Doubles:
    """The sum of `t tᵀ` over topics, in double precision, so that directions in which the topics of a fold do not vary
    are known from a difference of such sums.
    """
    blocks = (topics[start : start + BLOCK].astype(np.float64) for start in range(0, len(topics), BLOCK))
    return functools.reduce(np.add, (block.T @ block for block in blocks))


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
        of_common, of_specific = np.split(self.weights, 2, axis=1)
        stacked = common.T @ of_common.T
        for forecast, weight in zip(specific, of_specific.T, strict=True):
            stacked += forecast * weight
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
