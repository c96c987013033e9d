"""Baselines: published routing methods that ours is compared with, on the same folds and embeddings.

They are estimators with scikit-learn's contract, for tables with missing outcomes: `fit(X, y, groups)` takes
embeddings float `(prompts, width)`, outcomes `(prompts, models)` with NaN where a model was not run, and the number of
each prompt's question; `predict(X)` gives expected scores `(prompts, models)`. Hyper-parameters are chosen on a
validation part of the training rows by the Brier score; no question is in both parts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import StandardScaler, normalize

from router.learn.evaluation.metrics import Table, brier, filled_means
from router.types import Doubles, Floats, Indices

_SHRINK = 10.0
"""Number of outcomes with the model's mean that are added to every local mean."""

_LEAST = 1e-12
_BATCH = 512
_STEPS_PER_VALIDATION = 30
_MIN_QUESTIONS = 10


class NearestNeighbours(BaseEstimator):  # type: ignore[misc]
    """Mean outcome of the `k` most similar prompts by cosine, shrunk to the model's mean; `k` is chosen among `ks`."""

    def __init__(self, ks: tuple[int, ...] = (10, 30, 60, 100, 300), random_state: int = 0) -> None:
        self.ks = ks
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Indices | None = None) -> Self:  # noqa: N803 - scikit-learn's names
        """Store the prompts and choose `k_`."""
        unit = np.asarray(normalize(X), dtype=np.float32)
        train, validation = _validation_split(len(unit), groups, self.random_state)
        self.k_ = self.ks[-1]
        if len(validation):
            means = filled_means(y[train])
            tables = _neighbour_means(unit[train], y[train], means, unit[validation], self.ks)
            self.k_ = min(self.ks, key=lambda k: brier(y[validation], tables[k]))
        self.prompts_, self.outcomes_, self.means_ = unit, y, filled_means(y)
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores."""
        unit = np.asarray(normalize(X), dtype=np.float32)
        return _neighbour_means(self.prompts_, self.outcomes_, self.means_, unit, (self.k_,))[self.k_]


class Ridge(BaseEstimator):  # type: ignore[misc]
    """Ridge regression on standardised embeddings, with a penalty for each model by leave-one-out error, as
    scikit-learn's `RidgeCV` finds it in more time; a missing outcome is replaced by the model's mean.
    """

    def __init__(self, alphas: tuple[float, ...] = tuple(np.logspace(0, 6, 13))) -> None:
        self.alphas = alphas

    def fit(self, X: Any, y: Any, groups: Indices | None = None) -> Self:  # noqa: N803
        """Fit; `groups` are not used."""
        self.scaler_ = StandardScaler().fit(X)
        standard = self.scaler_.transform(X).astype(np.float64)
        targets = np.where(np.isnan(y), filled_means(y), y)
        self.intercept_ = targets.mean(axis=0)
        targets = targets - self.intercept_
        # The squared singular values of the rows, the rows along the right singular vectors, and these vectors.
        if len(standard) > standard.shape[1]:
            values, directions = np.linalg.eigh(standard.T @ standard)
            along = standard @ directions
        else:
            values, left = np.linalg.eigh(standard @ standard.T)
            along = left * np.sqrt(np.maximum(values, 0.0))
            directions = standard.T @ (left / np.sqrt(np.maximum(values, _LEAST)))
        shrinkage = 1.0 / (np.maximum(values, 0.0) + np.array(self.alphas)[:, None])
        # What an outcome weighs in its own forecast, the mean of all outcomes included, `(penalties, prompts)`.
        leverage = shrinkage @ np.square(along).T + 1.0 / len(standard)
        projected = along.T @ targets
        errors = []
        for factors, own in zip(shrinkage, leverage, strict=True):
            residual = targets - along @ (projected * factors[:, None])
            errors.append(np.square(residual / np.maximum(1.0 - own, _LEAST)[:, None]).mean(axis=0))
        best = np.argmin(errors, axis=0)
        self.alphas_ = np.array(self.alphas)[best]
        self.weights_ = directions @ (projected * shrinkage[best].T)
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores; not clipped."""
        expected: Doubles = self.scaler_.transform(X).astype(np.float64) @ self.weights_ + self.intercept_
        return expected


class Boosting(BaseEstimator):  # type: ignore[misc]
    """Gradient-boosted trees on the first principal components, with one ensemble for each model."""

    def __init__(
        self, components: int = 24, trees: int = 60, leaves: int = 15, rate: float = 0.08, random_state: int = 0
    ) -> None:
        self.components = components
        self.trees = trees
        self.leaves = leaves
        self.rate = rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Indices | None = None) -> Self:  # noqa: N803
        """Fit; the number of trees is fixed, so `groups` are not used."""
        count = min(self.components, *np.shape(X))
        self.pca_ = PCA(count, svd_solver="covariance_eigh", random_state=self.random_state).fit(X)
        components = self.pca_.transform(X)
        self.means_ = filled_means(y)
        self.ensembles_ = []
        bins: dict[bytes, Any] = {}
        for column in y.T:
            known = ~np.isnan(column)
            # Trees need two different outcomes; otherwise the mean is the forecast.
            ensemble = None
            if known.sum() >= 2 * self.leaves and np.ptp(column[known]) > 0:
                ensemble = _BinnedOnce(
                    max_iter=self.trees,
                    max_leaf_nodes=self.leaves,
                    learning_rate=self.rate,
                    early_stopping=False,
                    random_state=self.random_state,
                ).fit_binned(components[known], column[known], bins, known.tobytes())
            self.ensembles_.append(ensemble)
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores; not clipped."""
        components = self.pca_.transform(X)
        return np.column_stack(
            [
                np.full(len(components), mean) if ensemble is None else ensemble.predict(components)
                for mean, ensemble in zip(self.means_, self.ensembles_, strict=True)
            ]
        )


class _BinnedOnce(HistGradientBoostingRegressor):  # type: ignore[misc]
    """scikit-learn's trees; models run on the same prompts share their bins, in releases that call `_bin_data`."""

    _bin_mapper: Any

    def fit_binned(self, X: Doubles, y: Doubles, bins: dict[bytes, Any], key: bytes) -> Self:  # noqa: N803
        """Fit, with the bins that are at `key` or are put there."""
        self._bins, self._key = bins, key
        self.fit(X, y)
        del self._bins, self._key
        return self

    def _bin_data(self, X: Any, sample_weight: Any, is_training_data: bool) -> Any:  # noqa: N803
        if sample_weight is not None or not is_training_data:
            return super()._bin_data(X, sample_weight, is_training_data)
        if self._key not in self._bins:
            self._bins[self._key] = super()._bin_data(X, sample_weight, is_training_data), self._bin_mapper
        binned, self._bin_mapper = self._bins[self._key]
        return binned


class ClusterMeans(BaseEstimator):  # type: ignore[misc]
    """A model is the vector of its mean outcomes in k-means clusters of prompts (UniRoute, Avengers), shrunk to its
    mean; the number of clusters is chosen among `clusters`.
    """

    def __init__(self, clusters: tuple[int, ...] = (8, 32, 96), random_state: int = 0) -> None:
        self.clusters = clusters
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Indices | None = None) -> Self:  # noqa: N803
        """Choose the number of clusters, then cluster the prompts."""
        unit = np.asarray(normalize(X), dtype=np.float32)
        train, validation = _validation_split(len(unit), groups, self.random_state)
        counts = [count for count in self.clusters if count <= len(train)]
        if not len(validation) or not counts:
            return self._fit(unit, y, min(self.clusters[0], len(unit)))
        losses = {
            count: brier(y[validation], self._fit(unit[train], y[train], count).predict(unit[validation]))
            for count in counts
        }
        return self._fit(unit, y, min(losses, key=losses.__getitem__))

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores."""
        table: Doubles = self.table_[self.kmeans_.predict(np.asarray(normalize(X), dtype=np.float32))]
        return table

    def _fit(self, unit: Floats, y: Table, count: int) -> Self:
        with warnings.catch_warnings():
            # With fewer different prompts than clusters, the other clusters are empty.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.kmeans_ = KMeans(count, n_init=1, max_iter=30, random_state=self.random_state).fit(unit)
        members = np.eye(count)[self.kmeans_.labels_]
        known = ~np.isnan(y)
        means = filled_means(y)
        total = members.T @ np.where(known, y, 0.0) + _SHRINK * means
        self.table_ = total / (members.T @ known + _SHRINK)
        return self


class LowRank(BaseEstimator):  # type: ignore[misc]
    """`σ(b_m + p_m · h(W x))`: a hidden layer shared by all models, and a vector and an offset for each model.

    With `activation="linear"` it is RouteLLM's matrix factorisation, with `p_m` the model's embedding and `W` the
    projection of the prompt's, fitted to outcomes instead of to battles; with `"relu"` it is a multi-layer
    perceptron. Without hidden units it is a logistic regression for each model. Missing outcomes and scores between 0
    and 1 are supported, unlike in scikit-learn's classifiers. The loss is cross-entropy; the optimiser is Adam with
    decoupled weight decay (AdamW), which is chosen among `penalties`; training stops early on the validation part.
    """

    def __init__(
        self,
        hidden: int = 0,
        activation: str = "linear",
        penalties: tuple[float, ...] = (0.3, 3.0, 10.0, 30.0),
        steps: int = 1500,
        rate: float = 2e-3,
        batch: int = 256,
        patience: int = 4,
        random_state: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.penalties = penalties
        self.steps = steps
        self.rate = rate
        self.batch = batch
        self.patience = patience
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Indices | None = None) -> Self:  # noqa: N803
        """Fit with every penalty; use the one with the least validation loss."""
        self.scaler_ = StandardScaler().fit(X)
        standard = self.scaler_.transform(X).astype(np.float32) / np.float32(np.sqrt(np.shape(X)[1]))
        train, validation = _validation_split(len(standard), groups, self.random_state)
        if not len(validation):
            train = validation = np.arange(len(standard))
        best = np.inf
        for penalty in self.penalties:
            loss, weights = self._descend(standard, y, train, validation, penalty)
            if loss < best:
                best, self.weights_ = loss, weights
        return self

    def predict(self, X: Any) -> Doubles:  # noqa: N803
        """Expected scores."""
        standard = self.scaler_.transform(X).astype(np.float32) / np.float32(np.sqrt(np.shape(X)[1]))
        return self._forward(self.weights_, standard)[0].astype(np.float64)

    def _descend(
        self, standard: Floats, y: Table, train: Indices, validation: Indices, penalty: float
    ) -> tuple[float, list[Floats]]:
        """The least validation loss, and the weights with it."""
        rng = np.random.default_rng(self.random_state)
        initial = self._initial_weights(rng, standard.shape[1], filled_means(y[train]))
        # All layers in one array, of which each layer is a view, so that a step of Adam is a few operations in place.
        flat = np.concatenate([layer.ravel() for layer in initial])
        weights = _views(flat, initial)
        gradient, first, second, change = (np.zeros_like(flat) for _ in range(4))
        gradients = _views(gradient, initial)
        # Offsets are the models' means and are not shrunk.
        shrunk = flat[initial[0].size :]
        known, targets = ~np.isnan(y), np.nan_to_num(y).astype(np.float32)
        best, best_weights, checks_without_gain = np.inf, [layer.copy() for layer in weights], 0
        for step, rows in enumerate(_batches(train, self.batch, self.steps, rng), start=1):
            self._gradients(weights, standard[rows], targets[rows], known[rows], gradients)
            size = np.float32(self.rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step))
            np.subtract(gradient, first, out=change)
            change *= np.float32(0.1)
            first += change
            np.square(gradient, out=change)
            change -= second
            change *= np.float32(0.001)
            second += change
            shrunk *= np.float32(1 - self.rate * penalty)
            # The gradient is not needed any more.
            np.sqrt(second, out=gradient)
            gradient += np.float32(1e-8)
            np.multiply(size, first, out=change)
            change /= gradient
            flat -= change
            if step % _STEPS_PER_VALIDATION:
                continue
            loss = brier(y[validation], self._forward(weights, standard[validation])[0])
            if loss < best - 1e-6:
                best, best_weights, checks_without_gain = loss, [layer.copy() for layer in weights], 0
            else:
                checks_without_gain += 1
                if checks_without_gain >= self.patience:
                    break
        return best, best_weights

    def _initial_weights(self, rng: np.random.Generator, width: int, means: Doubles) -> list[Floats]:
        """Offsets, then the layers from the last to the first."""
        clipped = np.clip(means, 0.01, 0.99)
        offsets = np.log(clipped / (1 - clipped)).astype(np.float32)
        if not self.hidden:
            return [offsets, np.zeros((width, len(means)), np.float32)]
        last = rng.normal(0, self.hidden**-0.5, (self.hidden, len(means))).astype(np.float32)
        return [offsets, last, rng.normal(0, 1, (width, self.hidden)).astype(np.float32)]

    def _forward(self, weights: list[Floats], standard: Floats) -> tuple[Floats, Floats]:
        hidden = standard
        if self.hidden:
            hidden = standard @ weights[2]
            if self.activation == "relu":
                hidden = np.maximum(hidden, 0)
        values = hidden @ weights[1]
        values += weights[0]
        np.clip(values, -15, 15, out=values)
        # The logistic function.
        np.negative(values, out=values)
        np.exp(values, out=values)
        values += 1
        return np.divide(1, values, out=values), hidden

    def _gradients(
        self, weights: list[Floats], standard: Floats, targets: Floats, known: Any, gradients: list[Floats]
    ) -> None:
        """Write the gradient of each layer into `gradients`."""
        forecast, hidden = self._forward(weights, standard)
        error = np.where(known, forecast - targets, np.float32(0))
        error /= np.float32(len(standard))
        np.sum(error, axis=0, out=gradients[0])
        np.matmul(hidden.T, error, out=gradients[1])
        if self.hidden:
            back = error @ weights[1].T
            if self.activation == "relu":
                back = np.where(hidden > 0, back, np.float32(0))
            np.matmul(standard.T, back, out=gradients[2])


QUICK: Mapping[str, Callable[[int], BaseEstimator]] = {
    "kNN": lambda seed: NearestNeighbours(random_state=seed),
    "ridge": lambda _: Ridge(),
    "k-means error vectors": lambda seed: ClusterMeans(random_state=seed),
}
SLOW: Mapping[str, Callable[[int], BaseEstimator]] = {
    "logistic regression": lambda seed: LowRank(random_state=seed),
    "MLP": lambda seed: LowRank(hidden=64, activation="relu", random_state=seed),
    "matrix factorisation": lambda seed: LowRank(hidden=32, random_state=seed),
    "gradient boosting": lambda seed: Boosting(random_state=seed),
}


def _views(flat: Floats, layers: list[Floats]) -> list[Floats]:
    """Views of consecutive parts of `flat` with the shapes of `layers`."""
    ends = np.cumsum([layer.size for layer in layers])
    return [part.reshape(layer.shape) for part, layer in zip(np.split(flat, ends[:-1]), layers, strict=True)]


def _batches(rows: Indices, size: int, steps: int, rng: np.random.Generator) -> Iterator[Indices]:
    """`steps` batches; every pass over the rows has each row once, in random order."""
    done = 0
    while done < steps:
        order = rng.permutation(rows)
        for start in range(0, len(order), size):
            if done < steps:
                yield order[start : start + size]
                done += 1


def _validation_split(rows: int, groups: Indices | None, random_state: int) -> tuple[Indices, Indices]:
    """Four fifths to fit and one fifth to validate; the second is empty where there are too few questions."""
    groups = np.arange(rows) if groups is None else groups
    if len(np.unique(groups)) < _MIN_QUESTIONS:
        return np.arange(rows), np.array([], dtype=np.intp)
    shuffle = GroupShuffleSplit(1, test_size=0.2, random_state=random_state)
    train, validation = next(shuffle.split(groups, groups=groups))
    return train, validation


def _neighbour_means(
    prompts: Floats, outcomes: Table, means: Doubles, test: Floats, ks: tuple[int, ...]
) -> dict[int, Doubles]:
    """For each k, the shrunk mean outcomes of the k prompts nearest to each test prompt."""
    known = ~np.isnan(outcomes)
    filled = np.where(known, outcomes, 0.0).astype(np.float32)
    widest = min(max(ks), len(prompts))
    result = {k: np.empty((len(test), outcomes.shape[1])) for k in ks}
    for start in range(0, len(test), _BATCH):
        batch = slice(start, start + _BATCH)
        cosine = test[batch] @ prompts.T
        nearest = np.argpartition(-cosine, widest - 1, axis=1)[:, :widest]
        order = np.argsort(-np.take_along_axis(cosine, nearest, axis=1), axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        for k in ks:
            neighbours = nearest[:, :k]
            total, count = filled[neighbours].sum(axis=1), known[neighbours].sum(axis=1)
            result[k][batch] = (total + _SHRINK * means) / (count + _SHRINK)
    return result
