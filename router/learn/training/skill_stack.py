"""Learning skills from a table of outcomes: a stack of ridge regressions, folded into one lens.

    y(z, m) = a_m + d(z) + r_m(z) + noise

`a_m` is how able model m is, `d(z)` how easy the prompt is for an average model, `r_m(z)` what is particular to the
model. Three members forecast `d` and `r`, each a ridge regression on other features:

- linear: embedding and surface features;
- local: surface features and the likeness to landmarks, which is kernel regression with landmarks for a basis;
- topic: the likeness alone. Ridge regression on memberships of soft clusters is the clusters' mean errors (UniRoute,
  Avengers), each shrunk by how few prompts it has.

Each model weighs the members by least squares on out-of-fold forecasts, never negative, drawn to the weights that serve
all models. A second stack is for prompts unlike the training: its out-of-fold forecasts leave whole domains out, and
only the topic member takes part. At last the item-response form: all weights together are one matrix, whose leading
singular vectors are the skills, and every model's ability is its coordinates in them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.optimize import nnls
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from router.learn.evaluation.calibration import LEAST_CELL
from router.learn.training.ridge import ALPHAS, BLOCK, Moments, chosen_alphas, ridge
from router.perceive.skills import SkillParameters, SkillProjector, levels, quantised, topics_of, unit_rows
from router.types import Doubles, Floats, Indices, Mask

MIN_ROWS = 20
"""With fewer prompts only means are learned."""

_EFFECT_ROUNDS = 30
_SHRINK_PROMPT = 1.0
_SHRINK_MODEL = 5.0
_INNER_ROWS = 30_000
_LANDMARK_ROWS = 20_000
_LANDMARK_ROUNDS = 4
_PROMPTS_A_LANDMARK = 8
_SKILL_ROWS = 4_000
_COLUMNS = 32
_DOMAINS_OUT = 8
_DIRECTIONS = 64
_SHRINK_VARIANCE = 0.1
_FEW_DOMAINS = 3
_MOST_GROUPS = 8
_SAME_ROWS = (0.95, 0.7, 0.4, 0.0)
_PRIOR_ROWS = 300
_EASIEST = np.array(ALPHAS[-1:])
_COVERED, _QUANTILE_80 = 0.8, 1.2816
_LEAST_SHARE, _UNKNOWN_SHARE = 1e-4, 0.25


class Doubt(NamedTuple):
    """How far forecasts are off: `residual_variance` `(models,)` of single outcomes, out of fold, and `shares` `(2, 2)`
    of it by which the expectation itself is uncertain: near the training and far from it; in all, and without what
    all models have in common, which no comparison of models needs.
    """

    residual_variance: Doubles
    shares: Doubles


class _OutOfFold(NamedTuple):
    """Forecasts of rows by members that have not seen them: `common` `(members, rows)`, `particular`
    `(members, rows, models)`, and how strange the rows are `(rows,)`.
    """

    rows: Indices
    common: Doubles
    particular: Floats
    strangeness: Doubles


class SkillStack(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Fits `X` float `(prompts, width)` and `y` `(prompts, models)`, NaN where a model was not run.

    The first `embedded` columns of `X` are the embedding (None: all of them), the rest surface features. `groups` of
    `fit` are the prompts' domains. Learned: `reader_`, `bias_` `(models,)`, `ability_` `(models, skills)`, so that
    `predict` is `bias_ + reader_(X).skills @ ability_.T`; `doubt_`; `weights_` `(models, 6)`, what each model makes of
    the members' common and particular parts, and `far_weight_` of the topic member's particular part far from the
    training.
    """

    def __init__(
        self,
        embedded: int | None = None,
        landmarks: int = 512,
        sharpness: float = 5.0,
        skills: int = 32,
        folds: int = 5,
        far_share: float = 0.15,
        random_state: int = 0,
    ) -> None:
        self.embedded = embedded
        self.landmarks = landmarks
        self.sharpness = sharpness
        self.skills = skills
        self.folds = folds
        self.far_share = far_share
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:  # noqa: N803 - scikit-learn's names
        """Fit; `y` may be one column. A model without any outcome gets an average ability."""
        if y is None:
            raise ValueError("SkillStack requires y to be passed, but the target y is None")
        X = validate_data(self, X, dtype=np.float32)  # noqa: N806
        outcomes = check_array(y, dtype=np.float32, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(X, outcomes, groups)
        self.single_ = outcomes.ndim == 1
        table = _Table(outcomes.reshape(len(X), -1))
        rng = np.random.default_rng(self.random_state)
        embedded = X.shape[1] if self.embedded is None else min(self.embedded, X.shape[1])
        lens = _blank_lens(X, embedded, self.landmarks, self.sharpness, rng)
        rows = np.flatnonzero(table.any_known)
        if len(rows) > _INNER_ROWS:
            rows = np.sort(rng.choice(rows, _INNER_ROWS, replace=False))
        inner = _Inner(X[rows], table.rows(rows), lens, embedded)
        domains = None if groups is None else np.asarray(groups)[rows]
        near, far = inner.out_of_fold(domains, self.folds, self.random_state)
        self.weights_ = _member_weights(near, inner.table)
        self.far_weight_ = _particular_weight(far, inner.table)
        lens = _with_gate(lens, near.strangeness, far.strangeness, self.far_share)
        self.doubt_ = _doubt(near, far, inner, lens, self.weights_, self.far_weight_, domains)
        sums = _added(_blocks(X, table, SkillProjector(lens)))
        columns = _members(embedded, lens)
        penalties = [_penalties(sums, table, each) for each in columns]
        members = _solved(sums, table, columns, penalties, len(sums.common.x))
        self.reader_, self.bias_, self.ability_ = self._folded(X, table, lens, members, rng)
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores, float64 `(prompts, models)`; not clipped."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)  # noqa: N806
        expected: Doubles = self.bias_ + self.reader_(X).skills @ self.ability_.T
        return expected[:, 0] if self.single_ else expected

    def _folded(
        self,
        vectors: Floats,
        table: _Table,
        lens: SkillParameters,
        members: Sequence[Doubles],
        rng: np.random.Generator,
    ) -> tuple[SkillProjector, Doubles, Doubles]:
        """The members, weighed and written as skills and abilities."""
        models = table.scores.shape[1]
        parts = [member[:, -1:] for member in members] + [member[:, :-1] for member in members]
        near = sum(part * weight for part, weight in zip(parts, self.weights_.T, strict=True))
        far = members[-1][:, -1:] + self.far_weight_ * members[-1][:, :-1]
        rows = np.sort(rng.choice(len(vectors), min(_SKILL_ROWS, len(vectors)), replace=False))
        read = SkillProjector(lens)(vectors[rows]).read
        usual = (read @ near).mean(axis=0)
        near[0] -= usual
        far[0] -= usual
        _, sizes, directions = np.linalg.svd(np.concatenate([read @ near, read @ far]), full_matrices=False)
        count = max(1, min(self.skills, int((sizes > 1e-9 * max(float(sizes[0]), 1e-9)).sum()), models))
        # The sign of a singular vector is arbitrary: let a skill be what the models have more of than they lack.
        kept = directions[:count] * np.where(directions[:count].sum(axis=1) < 0, -1.0, 1.0)[:, None]
        spread = np.maximum(sizes[:count] / np.sqrt(2 * len(rows)), 1e-9)
        lens = _replaced(lens, near=near @ kept.T / spread, far=far @ kept.T / spread)
        return SkillProjector(lens), table.ability + usual, np.asarray(kept.T * spread)


class _Table:
    """Outcomes with what an additive fit says of them: `ability` `(models,)`, `ease` `(prompts,)`."""

    def __init__(self, scores: Floats, ability: Doubles | None = None, ease: Doubles | None = None) -> None:
        self.scores = scores
        self.known: Mask = np.asarray(~np.isnan(scores))
        self.any_known: Mask = np.asarray(self.known.any(axis=1))
        self.ability, self.ease = additive_effects(scores) if ability is None or ease is None else (ability, ease)
        self.groups = groups_with_same_rows(self.known)

    def rows(self, rows: Indices) -> _Table:
        return _Table(self.scores[rows], self.ability, self.ease[rows])

    def targets(self, rows: Indices | slice, models: Sequence[int]) -> Floats:
        """What the models scored above their ability, `(rows, models)`, ease where not run; then the ease."""
        above = self.scores[rows][:, models] - self.ability[models]
        ease = self.ease[rows, None]
        targets: Floats = np.concatenate([np.where(np.isnan(above), ease, above), ease], axis=1).astype(np.float32)
        return targets


class _Sums(NamedTuple):
    """The moments of all rows with outcomes, for what is common, and of each group of models."""

    common: Moments
    groups: tuple[Moments, ...]

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.common.plus(other.common),
            tuple(one.plus(two) for one, two in zip(self.groups, other.groups, strict=True)),
        )

    def minus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.common.minus(other.common),
            tuple(one.minus(two) for one, two in zip(self.groups, other.groups, strict=True)),
        )


class _Inner:
    """The rows on which members are compared, held in memory."""

    def __init__(self, vectors: Floats, table: _Table, lens: SkillParameters, embedded: int) -> None:
        self.vectors, self.table, self._lens = vectors, table, lens
        self._members = _members(embedded, lens)
        self.reader = SkillProjector(lens)
        self._closeness = self.reader.closeness(vectors) if len(vectors) else np.zeros((0, 1))

    def out_of_fold(self, domains: Any, folds: int, seed: int) -> tuple[_OutOfFold, _OutOfFold]:
        """Forecasts by members that have not seen the prompt, though others of its kind; and by topic members that
        have seen no prompt of its domain, nor landmarks of it.
        """
        near, far = self._nothing(len(self._members)), self._nothing(1)
        nobody = far._replace(rows=np.zeros(0, np.intp))
        if len(self.vectors) < max(MIN_ROWS, folds):
            return near, nobody
        standard, likeness = self.reader.standard(self.vectors), self.reader.likeness(self._closeness)
        read = np.concatenate([standard, likeness], axis=1, dtype=np.float32)
        parts = [test for _, test in KFold(folds, shuffle=True, random_state=seed).split(read)]
        sums = [_sums(read[part], self.table, part) for part in parts]
        total = _added(sums)
        penalties = [_penalties(total, self.table, each) for each in self._members]
        for part, own in zip(parts, sums, strict=True):
            fitted = _solved(total.minus(own), self.table, self._members, penalties, read.shape[1])
            _forecast(near, fitted, read[part], part)
        kinds = self.kinds(domains)
        if len(np.unique(kinds)) < 2:
            return near, nobody
        return near, far._replace(rows=np.flatnonzero(self._forecast_new(far, kinds, penalties[-1])))

    def _forecast_new(self, found: _OutOfFold, domains: Any, penalties: _Penalties) -> Mask:
        """Fill `found` with forecasts of domains left out; says of which rows there is one."""
        done = np.zeros(len(self.vectors), np.bool_)
        own = self._closeness.argmax(axis=1)
        count = np.maximum(np.bincount(own, minlength=self._closeness.shape[1]), 1)
        folds = min(_DOMAINS_OUT, len(np.unique(domains)))
        for train, test in GroupKFold(folds).split(self.vectors, groups=domains):
            left = np.flatnonzero(np.bincount(own[test], minlength=len(count)) < 0.5 * count)
            if not len(left) or len(train) < MIN_ROWS:
                continue
            closeness = self._closeness[:, left]
            some = _some_landmarks(self._lens, left)
            reader = SkillProjector(_measured(some, self.vectors[train], closeness[train]))
            likeness = reader.likeness(closeness)
            read, columns = likeness.astype(np.float32), np.arange(len(left))
            fitted = _solved(_sums(read[train], self.table, train), self.table, [columns], [penalties], len(left))
            _forecast(found, fitted, read[test], test)
            found.strangeness[test] = reader.strangeness(
                reader.distance(self.vectors[test]), closeness[test].max(axis=1)
            )
            done[test] = True
        return done

    def _nothing(self, members: int) -> _OutOfFold:
        rows = len(self.vectors)
        return _OutOfFold(
            np.arange(rows),
            np.zeros((members, rows)),
            np.zeros((members, rows, self.table.scores.shape[1]), np.float32),
            self.reader.strangeness(self.reader.distance(self.vectors), self._closeness.max(axis=1)),
        )

    def kinds(self, domains: Any) -> Any:
        """What is left out as a whole: the domains, or topics where there are hardly any."""
        return self.topics() if domains is None or len(np.unique(domains)) < _FEW_DOMAINS else domains

    def topics(self) -> Indices:
        """Which of a few clusters of landmarks each prompt belongs to, where nobody has named domains."""
        landmarks = self._lens.landmarks.astype(np.float32) * self._lens.landmark_scale[:, None]
        middles = _clustered(landmarks, landmarks[:: -(-len(landmarks) // _DOMAINS_OUT)])
        topics: Indices = (landmarks @ middles.T).argmax(axis=1)[self._closeness.argmax(axis=1)]
        return topics


def additive_effects(outcomes: Any) -> tuple[Doubles, Doubles]:
    """`(ability (models,), ease (prompts,))` of the shrunk additive model `y ≈ ability + ease`, ease about zero."""
    known = ~np.isnan(outcomes)
    filled = np.where(known, outcomes, 0.0).astype(np.float64, copy=False)
    per_model, per_prompt = known.sum(axis=0), known.sum(axis=1)
    mean = filled.sum() / max(known.sum(), 1)
    ease = np.zeros(outcomes.shape[0])
    ability = np.full(outcomes.shape[1], mean)
    of_model, of_prompt = filled.sum(axis=0), filled.sum(axis=1)
    # Of a million prompts and a hundred models, each such table takes a tenth of the memory.
    del filled
    flags = known.astype(np.float64)
    for _ in range(_EFFECT_ROUNDS):
        ability = (of_model - ease @ flags + _SHRINK_MODEL * mean) / (per_model + _SHRINK_MODEL)
        ease = (of_prompt - flags @ ability) / (per_prompt + _SHRINK_PROMPT)
    return ability, ease


def groups_with_same_rows(known: Mask) -> list[list[int]]:
    """Models that were run on much the same prompts, so that one decomposition serves them all; at most a few groups,
    for which "much the same" is loosened as far as it takes.
    """
    # Blocks, because counts are exact in single precision only up to 2 ** 24.
    blocks = (known[start : start + BLOCK].astype(np.float32) for start in range(0, len(known), BLOCK))
    together = sum((np.asarray(block.T @ block, np.float64) for block in blocks), np.zeros((known.shape[1],) * 2))
    runs = np.diag(together)
    for share in _SAME_ROWS:
        groups: list[list[int]] = []
        for model in range(known.shape[1]):
            for group in groups:
                both = together[model, group[0]]
                either = runs[model] + runs[group[0]] - both
                if both >= share * either:
                    group.append(model)
                    break
            else:
                groups.append([model])
        if len(groups) <= _MOST_GROUPS:
            break
    return groups


def _members(embedded: int, lens: SkillParameters) -> list[Indices]:
    """The columns of `(standardised features, likeness)` on which each member rests; the topic member comes last."""
    width, landmarks = len(lens.center), len(lens.landmarks)
    topic = width + np.arange(landmarks)
    return [np.arange(width), np.concatenate([np.arange(embedded, width), topic]), topic]


def _blank_lens(
    vectors: Floats, embedded: int, landmarks: int, sharpness: float, rng: np.random.Generator
) -> SkillParameters:
    """A lens that sees features and likeness, without skills as yet."""
    center = vectors.mean(axis=0, dtype=np.float64)
    # Some columns at a time: the deviations of all from their mean would take twice the memory of the vectors.
    columns = np.array_split(vectors, -(-vectors.shape[1] // _COLUMNS), axis=1)
    deviation = np.concatenate([each.std(axis=0, dtype=np.float64) for each in columns])
    topic_center = center[:embedded].astype(np.float32)
    count = max(1, min(landmarks, len(vectors) // _PROMPTS_A_LANDMARK))
    rows = np.arange(len(vectors))
    if len(rows) > _LANDMARK_ROWS:
        rows = np.sort(rng.choice(rows, _LANDMARK_ROWS, replace=False))
    topics = unit_rows(vectors[rows, :embedded] - topic_center)
    marks = _clustered(topics, topics[np.sort(rng.choice(len(topics), count, replace=False))])
    whole, step = quantised(marks, levels(embedded))
    nothing = np.zeros((1 + vectors.shape[1] + count, 1))
    lens = _replaced(
        SkillParameters(*[np.zeros(1, np.float32)] * len(SkillParameters.__struct_fields__)),
        center=center,
        scale=np.where(deviation > 1e-6, deviation, 1.0),
        topic_center=topic_center,
        landmark_scale=step[:, 0],
        sharpness=np.array([sharpness]),
        likeness_center=np.zeros(count),
        likeness_scale=np.ones(count),
        gate=np.array([-30.0, 0.0]),
        near=nothing,
        far=nothing,
        directions=nothing[:1, :0],
        precision=np.ones(1),
        strangeness=np.zeros(3),
        strangeness_quantiles=np.zeros(101),
        landmarks=whole,
    )
    return _measured(lens, vectors[rows], SkillProjector(lens).closeness(vectors[rows]))


def _measured(lens: SkillParameters, vectors: Floats, closeness: Doubles) -> SkillParameters:
    """The lens with what is usual among prompts of these vectors and this closeness: the likeness to each landmark, and
    how far topics lie from their mean and from the nearest landmark.
    """
    likeness = SkillProjector(_replaced(lens, likeness_center=np.zeros(1), likeness_scale=np.ones(1))).likeness(
        closeness
    )
    away = topics_of(vectors, lens).astype(np.float64)
    values, directions = np.linalg.eigh(away.T @ away / len(away))
    values, directions = np.maximum(values[::-1], 0.0), directions.T[::-1]
    precision = 1.0 / np.maximum(values + _SHRINK_VARIANCE * values.mean(), 1e-12)
    count = min(_DIRECTIONS, len(values) - 1)
    # Weighted by how far topics lie along each direction, so that the mean distance is exact.
    rest = float((precision * values)[count:].sum() / max(values[count:].sum(), 1e-12))
    lens = _replaced(
        lens,
        likeness_center=likeness.mean(axis=0),
        likeness_scale=np.maximum(likeness.std(axis=0), 1e-6),
        directions=directions[:count],
        precision=np.append(precision[:count], rest),
    )
    nearest, distance = closeness.max(axis=1), SkillProjector(lens).distance(vectors)
    of_distance, of_closeness = (1.0 / max(float(each.std()), 1e-6) for each in (distance, nearest))
    offset = nearest.mean() * of_closeness - distance.mean() * of_distance
    lens = _replaced(lens, strangeness=np.array([offset, of_distance, -of_closeness]))
    strangeness = SkillProjector(lens).strangeness(distance, nearest)
    return _replaced(lens, strangeness_quantiles=np.quantile(strangeness, np.linspace(0, 1, 101)))


def _some_landmarks(lens: SkillParameters, kept: Indices) -> SkillParameters:
    return _replaced(
        lens,
        landmarks=lens.landmarks[kept],
        landmark_scale=lens.landmark_scale[kept],
        likeness_center=lens.likeness_center[kept],
        likeness_scale=lens.likeness_scale[kept],
    )


def _replaced(lens: SkillParameters, landmarks: Any = None, **arrays: Any) -> SkillParameters:
    fields = {name: getattr(lens, name) for name in SkillParameters.__struct_fields__}
    fields |= {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    if landmarks is not None:
        fields["landmarks"] = np.ascontiguousarray(landmarks, dtype=np.int8)
    return SkillParameters(**fields)


def _clustered(rows: Floats, middles: Floats) -> Floats:
    """Middles of clusters of rows of length one, from these to begin with (spherical k-means, few rounds)."""
    for _ in range(_LANDMARK_ROUNDS):
        nearest = (rows @ middles.T).argmax(axis=1)
        ones = np.ones(len(rows), dtype=rows.dtype)
        sums = csr_array((ones, (nearest, np.arange(len(rows)))), shape=(len(middles), len(rows))) @ rows
        length = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
        middles = np.where(length > 1e-9, sums / np.maximum(length, 1e-9), middles)
    return middles


def _with_gate(lens: SkillParameters, near: Doubles, far: Doubles, far_share: float) -> SkillParameters:
    """The lens with the chance that a prompt of this strangeness is of a domain that the training has not seen."""
    if len(far) < MIN_ROWS or len(near) < MIN_ROWS:
        return lens
    strangeness = np.concatenate([near, far])
    middle, spread = strangeness.mean(), max(float(strangeness.std()), 1e-6)
    weight = np.concatenate([np.ones(len(near)), np.full(len(far), far_share)])
    label = np.concatenate([np.zeros(len(near)), np.ones(len(far))])
    model = LogisticRegression(C=100.0).fit(((strangeness - middle) / spread)[:, None], label, sample_weight=weight)
    slope = float(model.coef_[0, 0]) / spread
    return _replaced(lens, gate=np.array([float(model.intercept_[0]) - slope * middle, slope]))


def _blocks(vectors: Floats, table: _Table, reader: SkillProjector) -> Iterator[_Sums]:
    """The sums of each block of rows."""
    for start in range(0, len(vectors), BLOCK):
        standard, likeness, _ = reader.features(vectors[start : start + BLOCK])
        read = np.concatenate([standard, likeness], axis=1, dtype=np.float32)
        yield _sums(read, table, np.arange(start, start + len(read)))


def _sums(read: Floats, table: _Table, rows: Indices) -> _Sums:
    """The moments of these rows of the table, whose features are `read`."""
    known = table.known[rows]
    with_outcome = known.any(axis=1)
    groups = []
    for models in table.groups:
        own = known[:, models].any(axis=1)
        groups.append(Moments.of(read[own], table.targets(rows[own], models)))
    return _Sums(Moments.of(read[with_outcome], table.targets(rows[with_outcome], [])), tuple(groups))


def _added(sums: Iterable[_Sums]) -> _Sums:
    return functools.reduce(_Sums.plus, sums)


class _Penalties(NamedTuple):
    """Of one member: the penalty of the common part `(1,)`, and of each group's models."""

    common: Doubles
    groups: tuple[Doubles, ...]


def _penalties(sums: _Sums, table: _Table, columns: Indices) -> _Penalties:
    """The penalties of the member on these columns, by generalised cross-validation on all rows."""
    common, weights = _EASIEST, np.zeros(len(columns))
    if sums.common.rows >= MIN_ROWS:
        about = sums.common.select(columns, np.array([0])).about_mean()
        common = chosen_alphas(about)
        weights = ridge(about, common)[:, 0]
    groups = []
    for models, moments in zip(table.groups, sums.groups, strict=True):
        if moments.rows < MIN_ROWS:
            groups.append(np.repeat(_EASIEST, len(models)))
            continue
        left = moments.select(columns, np.arange(len(models))).about_mean().without(weights)
        groups.append(chosen_alphas(left))
    return _Penalties(common, tuple(groups))


def _solved(
    sums: _Sums, table: _Table, members: Sequence[Indices], penalties: Sequence[_Penalties], width: int
) -> list[Doubles]:
    """Each member's weights `(1 + width, models + 1)`, intercept first: what is particular to each model, then what is
    common.
    """
    fitted = []
    for columns, penalty in zip(members, penalties, strict=True):
        weights = np.zeros((1 + width, table.scores.shape[1] + 1))
        common = np.zeros(len(columns))
        if sums.common.rows >= MIN_ROWS:
            about = sums.common.select(columns, np.array([0])).about_mean()
            common = ridge(about, penalty.common)[:, 0]
            weights[1 + columns, -1] = common
            weights[0, -1] = -(about.x @ common)
        for models, moments, alphas in zip(table.groups, sums.groups, penalty.groups, strict=True):
            if moments.rows < MIN_ROWS:
                continue
            left = moments.select(columns, np.arange(len(models))).about_mean().without(common)
            own = ridge(left, alphas)
            weights[1 + columns[:, None], models] = own
            weights[0, models] = left.y - weights[0, -1] - left.x @ own
        fitted.append(weights)
    return fitted


def _forecast(found: _OutOfFold, fitted: Sequence[Doubles], read: Floats, rows: Indices) -> None:
    for member, weights in enumerate(fitted):
        forecast = weights[0] + read @ weights[1:]
        found.common[member, rows], found.particular[member, rows] = forecast[:, -1], forecast[:, :-1]


def _member_weights(near: _OutOfFold, table: _Table) -> Doubles:
    """What each model makes of each member, `(models, 2 · members)`: common parts first."""
    members, models = len(near.common), table.scores.shape[1]
    products = np.zeros((models, 2 * members, 2 * members))
    along = np.zeros((models, 2 * members))
    for model in range(models):
        known = table.known[:, model]
        parts = np.concatenate([near.common[:, known], near.particular[:, known, model]]).astype(np.float64)
        products[model] = parts @ parts.T
        along[model] = parts @ (table.scores[known, model] - table.ability[model])
    rows = max(int(table.known.sum()), 1)
    equal = np.full(2 * members, 1.0 / members)
    mean = products.sum(axis=0) / rows
    every = _least_squares(mean, along.sum(axis=0) / rows, mean * 1e-3, equal)
    return np.stack(
        [
            _least_squares(product, each, mean * _PRIOR_ROWS, every)
            for product, each in zip(products, along, strict=True)
        ]
    )


def _particular_weight(far: _OutOfFold, table: _Table) -> float:
    """How much of what the topic member takes for particular to a model holds in domains that it has not seen.

    Only this is drawn in: how easy a prompt is orders prompts near and far on one scale, and must stay on it.
    """
    rows = far.rows
    known = table.known[rows]
    left = (table.scores[rows] - table.ability - far.common[0, rows, None])[known]
    part = far.particular[0, rows][known].astype(np.float64)
    square = float(part @ part)
    return float(np.clip(part @ left / square, 0.0, 1.0)) if square > 0 else 1.0


def _least_squares(product: Doubles, along: Doubles, prior: Doubles, toward: Doubles) -> Doubles:
    """Weights `w >= 0` of least `wᵀ product w - 2 along · w + (w - toward)ᵀ prior (w - toward)`."""
    scale = np.trace(product + prior) / len(product)
    if not scale > 1e-12:
        return toward
    both = product + prior + 1e-6 * scale * np.eye(len(product))
    lower = np.linalg.cholesky(both)
    right = np.linalg.solve(lower, along + prior @ toward + 1e-6 * scale * toward)
    return np.asarray(nnls(lower.T, right)[0])


def _doubt(
    near: _OutOfFold,
    far: _OutOfFold,
    inner: _Inner,
    lens: SkillParameters,
    weights: Doubles,
    far_weight: float,
    domains: Any,
) -> Doubt:
    """How far the finished stack is off, judged by its out-of-fold forecasts."""
    table = inner.table
    parts = np.concatenate([np.broadcast_to(near.common[..., None], near.particular.shape), near.particular])
    lean = table.ability + np.einsum("jnm,mj->nm", parts, weights)
    topic = table.ability + near.common[-1][:, None] + far_weight * near.particular[-1]
    expected = lean + SkillProjector(lens).farness(near.strangeness)[:, None] * (topic - lean)
    usual = table.known.sum(axis=0)
    error = np.square(np.where(table.known, table.scores - expected, 0.0)).sum(axis=0)
    # A model with few outcomes is thought to be as hard to forecast as others are.
    mean = error.sum() / max(usual.sum(), 1) if usual.any() else 0.25
    variance = (error + MIN_ROWS * mean) / (usual + MIN_ROWS)
    kinds = np.zeros(len(expected), np.intp) if domains is None else np.unique(domains, return_inverse=True)[1]
    cells = [_cells(expected, table, variance, each) for each in (_tenths(expected), kinds[:, None])]
    own_cells = [_cells(expected, table, variance, each[:, None]) for each in (_tenths(expected.mean(axis=1)), kinds)]
    near_shares = np.array([_least_share(cells), _least_share(own_cells, apart=True)])
    if not len(far.rows):
        return Doubt(variance, np.stack([near_shares, np.maximum(near_shares, _UNKNOWN_SHARE)]))
    rows = far.rows
    new = table.ability + far.common[0, rows, None] + far_weight * far.particular[0, rows]
    kinds = np.unique(inner.kinds(domains), return_inverse=True)[1]
    strange = [_cells(new, table.rows(rows), variance, kinds[rows, None])]
    far_shares = np.array([_least_share(strange), _least_share(strange, apart=True)])
    return Doubt(variance, np.stack([near_shares, np.maximum(near_shares, far_shares)]))


def _tenths(values: Doubles) -> Indices:
    """Which tenth of its column each value lies in."""
    ranks = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    return np.minimum(ranks * 10 // max(len(values), 1), 9)


class _Cells(NamedTuple):
    """Of each kind of prompt and model, `(kinds, models)`, NaN where there are few: the mean error, its variance by
    chance; and `(models,)` the residual variance.
    """

    off: Doubles
    scatter: Doubles
    variance: Doubles


def _cells(expected: Doubles, table: _Table, variance: Doubles, kinds: Indices) -> _Cells:
    """The cells of kinds `(prompts, models)`, or `(prompts, 1)` where they are the same for all models."""
    shape = int(kinds.max(initial=0)) + 1, expected.shape[1]
    cell = (kinds * shape[1] + np.arange(shape[1]))[table.known]
    chance = np.clip(expected, 0.02, 0.98)
    values = np.ones_like(expected), table.scores - expected, chance * (1 - chance)
    count, off, scatter = (
        np.bincount(cell, each[table.known], minlength=shape[0] * shape[1]).reshape(shape) for each in values
    )
    count = np.where(count >= LEAST_CELL, count, np.nan)
    return _Cells(off / count, scatter / np.square(count), variance)


def _least_share(cells: Sequence[_Cells], *, apart: bool = False) -> float:
    """The least share of the residual variance as doubt by which four in five cells lie in their 80 % intervals;
    `apart`: once the mean error of all models in the cell is taken off.
    """
    needed = []
    for each in cells:
        off, scatter = each.off, each.scatter
        known = np.isfinite(off)
        if apart:
            count = np.maximum(known.sum(axis=1, keepdims=True), 1)
            off = off - np.where(known, off, 0.0).sum(axis=1, keepdims=True) / count
        needed.append(((np.square(off) / _QUANTILE_80**2 - scatter) / np.maximum(each.variance, 1e-9))[known])
    rows = np.concatenate(needed)
    return float(np.clip(np.quantile(rows, _COVERED), _LEAST_SHARE, 1.0)) if len(rows) else _UNKNOWN_SHARE
