"""Gradient boosting as a baseline."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor

from router.learn.evaluation.metrics import filled_means
from router.types import Doubles, Indices


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
    """scikit-learn's trees, for which prompts that several models were run on are sorted into bins only once. If a
    release of it names the method otherwise, each ensemble has its own bins, which are the same.
    """

    _bin_mapper: Any

    def fit_binned(self, X: Doubles, y: Doubles, bins: dict[bytes, Any], key: bytes) -> Self:  # noqa: N803
        """Fit, with the bins that are at `key` or are put there."""
        self._bins, self._key = bins, key
        self.fit(X, y)
        del self._bins, self._key
        return self

    def _bin_data(self, X: Any, *arguments: Any, **more: Any) -> Any:  # noqa: N803
        if self._key not in self._bins:
            binned = super()._bin_data(X, *arguments, **more)
            self._bins[self._key] = self._bin_mapper, binned
        self._bin_mapper, binned = self._bins[self._key]
        return binned
