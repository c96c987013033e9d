"""The artifact in use, which a promotion replaces while the gateway runs."""

from __future__ import annotations

from router.decide.plans.forecast.columns import NO_COLUMNS, Columns
from router.perceive.predictor import Predictor


class ActiveArtifact:
    """The predictor that the next load of the configuration uses, and the `columns` by which plans are forecast.

    `first` is the predictor that the gateway was started with.
    """

    def __init__(self, predictor: Predictor, columns: Columns = NO_COLUMNS) -> None:
        self.first, self.predictor, self.columns = predictor, predictor, columns

    @property
    def mark(self) -> str:
        """What tells configurations with another artifact than the first one apart, empty for the first one."""
        return "" if self.predictor is self.first else f"+{self.predictor.id}"
