"""Corrections: what the error memory adds to a forecast. They are recorded, so that a decision can be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.perceive.memory.card import CHOICES, MOST, SKETCH, SLOW, CardView
from router.perceive.memory.fast_head import projected
from router.perceive.memory.sketch import CELLS, TABLES, cells_of
from router.perceive.memory.voters import SLOTS, smallest
from router.types import GREATEST_STD, Doubles, Features, Floats, Forecast, Indices

_LEAST, _GREATEST = 1e-6, 1.0 - 1e-6
_TABLES = np.arange(TABLES)
_MOST_ESTIMATES = SLOTS - 1
_FIRST = np.zeros(TABLES, dtype=np.intp)


class Correction(Struct, frozen=True, array_like=True):
    """What is added to the quality of the card on the prompt, to its quality on an average prompt, and to the variance
    of its expected quality.
    """

    card: str
    on_prompt: float
    on_average: float
    variance: float


class Corrections(Struct, frozen=True):
    """The corrections of one decision, and the version of the memory that made them; `parts` are those of the parts of
    the prompt.
    """

    version: str = ""
    of_cards: tuple[Correction, ...] = ()
    parts: tuple[tuple[Correction, ...], ...] = ()

    def of_parts(self, features: Features) -> tuple[tuple[Correction, ...], ...]:
        """The corrections of every part of a prompt."""
        return self.parts or ((),) * len(features.parts)


NO_CORRECTIONS = Corrections()


class MemoryView:
    """What the memories of those cards whose correction is applied say about the forecasts of one tenant."""

    def __init__(self, version: str, views: Mapping[str, CardView]) -> None:
        applied = {card: view for card, view in sorted(views.items()) if view.is_applied}
        self.version = version if applied else ""
        self.cards = tuple(applied)
        size = len(applied)
        self._on_average = np.zeros(size)
        self._estimates = np.zeros((size, TABLES, CELLS, _MOST_ESTIMATES))
        self._variances = np.zeros((size, TABLES, CELLS))
        self.has_sketch = False
        self._only_heads = frozenset(card for card, view in applied.items() if view.choice is None)
        self._heads = {place: view.head for place, view in enumerate(applied.values()) if view.head is not None}
        for place, view in enumerate(applied.values()):
            if view.choice is None:
                continue
            row, strength = CHOICES[view.choice]
            self._on_average[place] = strength * view.means[SLOW if row == SKETCH else row]
            if row == SKETCH:
                self.has_sketch = True
                rows, variances = strength * view.estimates[SKETCH:], view.variances[SKETCH:]
                count = rows.shape[1]
                estimates = rows.reshape(TABLES, CELLS, count)
                # A tenant with votes of its own has fewer; the last one stands for those that are missing.
                self._estimates[place] = estimates[..., -1:]
                self._estimates[place, ..., :count] = estimates
                self._variances[place] = strength**2 * variances.reshape(TABLES, CELLS)
            else:
                self._estimates[place] = strength * view.means[row]
                self._variances[place] = strength**2 * view.variances[row]

    def __bool__(self) -> bool:
        return bool(self.cards)

    def corrections(
        self,
        features: Features,
        topics: Callable[[Floats], Doubles],
        without: Collection[str] = (),
        *,
        heads: bool = False,
    ) -> Corrections:
        """The corrections for a request, but of the cards in `without`. `topics` are those of feature vectors; `heads`:
        also by fast heads.
        """
        of_heads = self._heads if heads else {}
        if not of_heads and len(self._only_heads) == len(self.cards):
            return NO_CORRECTIONS

        def on(vector: Floats) -> tuple[Correction, ...]:
            if not (self.has_sketch or of_heads):
                return self.on(_FIRST, without)
            topic = topics(vector[None])[0]
            cells = cells_of(topic) if self.has_sketch else _FIRST
            return self.on(cells, without, projected(topic) if of_heads else None)

        return Corrections(self.version, on(features.vector), tuple(on(part.vector) for part in features.parts))

    def on(
        self, cells: Indices, without: Collection[str] = (), on_planes: Doubles | None = None
    ) -> tuple[Correction, ...]:
        """The corrections for a prompt with these cells, and this topic on the planes of fast heads, but of the cards
        in `without`.
        """
        # Averaged before the smallest is taken, as in `CardView.correction`.
        means = _bounded(smallest(self._estimates[:, _TABLES, cells].mean(axis=1)))
        averages = _bounded(self._on_average)
        variances = self._variances[:, _TABLES, cells].mean(axis=1).round(8)
        if on_planes is not None:
            x = np.append(on_planes, 1.0)
            for place, head in self._heads.items():
                means[place] = _bounded(head.weights @ x)
                averages[place] = _bounded(head.weights[-1])
                variances[place] = (x @ head.covariance @ x).round(8)
        rows = zip(self.cards, means.tolist(), averages.tolist(), variances.tolist(), strict=True)
        left_out = {*without, *(self._only_heads if on_planes is None else ())}
        return tuple(Correction(*row) for row in rows if row[0] not in left_out)


NO_MEMORY = MemoryView("", {})


def corrected(forecast: Forecast, catalog: Catalog, corrections: Corrections) -> Forecast:
    """`forecast` with the corrections of those cards that are in `catalog`; the same object where there are none."""
    if corrections.parts and any(corrections.parts):
        parts = tuple(
            _corrected(part, catalog, of_part) for part, of_part in zip(forecast.parts, corrections.parts, strict=True)
        )
        forecast = msgspec.structs.replace(forecast, parts=parts)
    return _corrected(forecast, catalog, corrections.of_cards)


def _corrected(forecast: Forecast, catalog: Catalog, corrections: tuple[Correction, ...]) -> Forecast:
    found = [(position, each) for each in corrections if (position := catalog.position(each.card)) is not None]
    if not found:
        return forecast
    positions = [position for position, _ in found]
    on_prompt = np.array([each.on_prompt for _, each in found])
    on_average = np.array([each.on_average for _, each in found])
    variance = np.array([each.variance for _, each in found])

    def added(values: Doubles, change: Doubles) -> Doubles:
        new = values.copy()
        new[positions] = np.minimum(np.maximum(values[positions] + change, _LEAST), _GREATEST).round(6)
        return new

    def widened(values: Doubles) -> Doubles:
        new = values.copy()
        new[positions] = np.minimum(np.sqrt(np.square(values[positions]) + variance), GREATEST_STD).round(6)
        return new

    quality = added(forecast.quality, on_prompt)
    same = forecast.compared is forecast.quality
    return msgspec.structs.replace(
        forecast,
        quality=quality,
        compared=quality if same else None if forecast.compared is None else added(forecast.compared, on_prompt),
        quality_std=widened(forecast.quality_std),
        independent_std=widened(forecast.independent_std),
        mean_quality=added(forecast.mean_quality, on_average),
    )


def version_of(versions: Mapping[str, int]) -> str:
    """A name for the memories of all cards, from the versions of each."""
    text = "\n".join(f"{card}\t{version}" for card, version in sorted(versions.items()))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _bounded(values: Doubles | np.float64) -> Doubles:
    bounded: Doubles = np.minimum(np.maximum(values, -MOST), MOST).round(6)
    return bounded
