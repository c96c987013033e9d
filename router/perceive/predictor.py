"""The predictor: from features to a forecast for every card of a catalogue.

First version: two levels of ridge regression. The population level forecasts how an average model does on
this prompt; a model with outcomes of its own adds its ability and what is particular to it. A card without
outcomes rests on the population level, an adapter on its base. Fitting is `router.learn.train`; here are only
array operations.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.errors import ArtifactError
from router.perceive.artifact import check_hashes, hashes, read_arrays, read_manifest, write_manifest
from router.perceive.encoder import Encoder
from router.perceive.features import vector_width
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.types import Doubles, Features, Floats, Forecast, Indices, Mask

FORMAT = "pulvinar-predictor"
VERSION = 1
_ARRAYS = "head.npz"
_CLIP = 8.0
"""A standardised feature beyond this many standard deviations says no more than "far out"."""


class ModelEvidence(Struct, frozen=True, forbid_unknown_fields=True):
    """What the artifact knows of one model: outcomes it was fitted on, their mean, the data sets they came
    from.
    """

    name: str
    outcomes: int
    mean_quality: float
    data_sets: tuple[str, ...]


class DataSource(Struct, frozen=True, forbid_unknown_fields=True):
    """A data set that the artifact was trained on."""

    name: str
    prompts: int
    sha256: str
    license: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """`predictor.json`."""

    format: str
    version: int
    release: str
    encoder: str
    encoder_fingerprint: str
    models: tuple[ModelEvidence, ...]
    data_sets: tuple[DataSource, ...]
    sha256: dict[str, str]
    command: str = ""


class Head(Struct, frozen=True, eq=False):
    """The fitted numbers. `width` is that of a feature vector; the last column is the population's.

    `weights` float32 `(width, models + 1)`, what is particular to each model, then what is common; `least`,
    `greatest` `(models + 1,)`, how far these went on the prompts of the training; `bias`, `residual_std`,
    `data_ratio`, `spread`, `length_offset` float32 `(models + 1,)`; `center`, `scale`, `length_weights`
    float32 `(width,)`; `directions` float32 `(k, width)` with `direction_gain` `(k,)` and `rest_gain` `(1,)`
    give a prompt's leverage.
    """

    weights: Floats
    least: Floats
    greatest: Floats
    bias: Floats
    residual_std: Floats
    data_ratio: Floats
    spread: Floats
    center: Floats
    scale: Floats
    directions: Floats
    direction_gain: Floats
    rest_gain: Floats
    usual_leverage: Floats
    length_weights: Floats
    length_offset: Floats


def encoder_name(folder: Path) -> str:
    """Which encoder the artifact in `folder` was trained with. Raises ArtifactError."""
    return read_manifest(folder / "predictor.json", Manifest, FORMAT, VERSION).encoder


class Predictor:
    """A head, the encoder it was fitted with, and what is known of each model."""

    def __init__(self, head: Head, encoder: Encoder, manifest: Manifest) -> None:
        self.head, self.encoder, self.manifest = head, encoder, manifest
        self.models = tuple(model.name for model in manifest.models)
        digest = hashlib.sha256(encoder.fingerprint.encode())
        for array in msgspec.structs.astuple(head):
            digest.update(array.tobytes())
        self.id = f"ridge-{digest.hexdigest()[:12]}"
        self._column = {name: column for column, name in enumerate(self.models)}

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Predictor:
        """Read an artifact. Raises ArtifactError where it is missing, damaged, foreign, or made for other
        vectors.
        """
        manifest = read_manifest(folder / "predictor.json", Manifest, FORMAT, VERSION)
        check_hashes(folder, manifest.sha256, (_ARRAYS,))
        arrays = read_arrays(folder / _ARRAYS)
        try:
            head = Head(**arrays)
        except TypeError as error:
            raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {error}") from None
        if manifest.encoder_fingerprint != encoder.fingerprint:
            raise ArtifactError(
                f'{folder}: was trained with the encoder "{manifest.encoder}" '
                f"({manifest.encoder_fingerprint}), "
                f'but "{encoder.name}" here is {encoder.fingerprint}; train it again'
            )
        if problem := _misshapen(head, vector_width(encoder), len(manifest.models) + 1):
            raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {problem}")
        return cls(head, encoder, manifest)

    def save(self, folder: Path) -> None:
        """Write `predictor.json` and `head.npz`; the encoder stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / _ARRAYS, **msgspec.structs.asdict(self.head))
        manifest = msgspec.structs.replace(self.manifest, sha256=hashes(folder, (_ARRAYS,)))
        write_manifest(folder / "predictor.json", manifest)

    def quality(self, vector: Floats) -> tuple[Doubles, Doubles]:
        """Expected quality and its standard deviation, each of shape `(models + 1,)`; the last is the
        population's.

        A prompt that leans on the training data less than most of it did is drawn to the models' averages.
        The deviation is that of the expectation, not of one answer: residual variance times leverage, plus,
        for the population, how much models differ.
        """
        head = self.head
        standard = self._standardised(vector)
        # Summing row by row gives the same bits on every machine. A linear part says nothing beyond where it
        # was fitted.
        linear = np.clip((head.weights * standard[:, None]).sum(axis=0), head.least, head.greatest)
        leverage = self._leverage(standard)
        if leverage > head.usual_leverage[0]:
            linear *= head.usual_leverage[0] / leverage
        expected = head.bias + linear[-1]
        expected[:-1] += linear[:-1]
        variance = np.square(head.residual_std) * head.data_ratio * leverage + np.square(head.spread)
        # Six decimals: the last bits of different machines' arithmetic should not reach a decision.
        return (
            np.round(np.clip(expected, 0.0, 1.0).astype(np.float64), 6),
            np.round(np.minimum(np.sqrt(variance), 0.5).astype(np.float64), 6),
        )

    def output_tokens(self, vector: Floats) -> Doubles:
        """Expected length of each model's answer, of shape `(models + 1,)`."""
        head = self.head
        common = float((head.length_weights * self._standardised(vector)).sum())
        return np.round(np.clip(np.expm1(head.length_offset.astype(np.float64) + common), 1.0, 8192.0))

    def bind(self, catalog: Catalog) -> Forecaster:
        """A forecaster for the cards of `catalog`."""
        return Forecaster(self, catalog)

    def column(self, catalog: Catalog, position: int) -> int:
        """Which column forecasts the card at `position`: its own, its base's, or the population's."""
        card = catalog[position]
        names = card.names if card.base is None else (*card.names, *catalog.named(card.base).names)
        return next((self._column[name] for name in names if name in self._column), len(self.models))

    def _standardised(self, vector: Floats) -> Floats:
        standard: Floats = np.clip((vector - self.head.center) / self.head.scale, -_CLIP, _CLIP)
        return standard

    def _leverage(self, standard: Floats) -> float:
        head = self.head
        along = (head.directions * standard).sum(axis=1)
        rest = float(np.square(standard).sum()) * float(head.rest_gain[0])
        return max(rest + float((np.square(along) * head.direction_gain).sum()), 0.0)


class Forecaster:
    """Forecasts for one catalogue. A card's forecast depends on that card alone."""

    def __init__(self, predictor: Predictor, catalog: Catalog) -> None:
        self._predictor = predictor
        self._columns = catalog.columns
        positions = range(len(catalog))
        self._column: Indices = np.array([predictor.column(catalog, each) for each in positions], dtype=np.intp)
        self._measured: Mask = self._column < len(predictor.models)

    def __call__(self, features: Features) -> Forecast:
        """The forecast of every card, in the catalogue's order."""
        cards = self._columns
        quality, quality_std = self._predictor.quality(features.vector)
        longest = np.fmin(cards.max_output_tokens, features.output_limit or np.inf)
        output_tokens = np.fmin(self._predictor.output_tokens(features.vector)[self._column], longest)
        cost_usd = (
            features.input_tokens * cards.input_price_usd_per_mtok + output_tokens * cards.output_price_usd_per_mtok
        ) / 1e6
        ttft_ms = np.where(
            np.isnan(cards.ttft_ms),
            time_to_first_token_ms(cards.active_parameters, features.input_tokens),
            cards.ttft_ms,
        )
        tpot_ms = np.where(np.isnan(cards.tpot_ms), time_per_token_ms(cards.active_parameters), cards.tpot_ms)
        return Forecast(
            quality=quality[self._column],
            quality_std=quality_std[self._column],
            output_tokens=output_tokens,
            cost_usd=cost_usd,
            ttft_ms=ttft_ms,
            latency_ms=ttft_ms + output_tokens * tpot_ms,
            measured=self._measured,
        )


def _misshapen(head: Head, width: int, columns: int) -> str | None:
    """What is wrong with the arrays of `head`, or None."""
    directions = len(head.directions)
    shapes: dict[str, tuple[int, ...]] = {"weights": (width, columns), "directions": (directions, width)}
    shapes |= {"direction_gain": (directions,), "rest_gain": (1,), "usual_leverage": (1,)}
    shapes |= dict.fromkeys(("center", "scale", "length_weights"), (width,))
    for name, array in msgspec.structs.asdict(head).items():
        if array.shape != (expected := shapes.get(name, (columns,))):
            return f"{name} has the shape {array.shape} instead of {expected}"
        if array.dtype != np.float32:
            return f"{name} is {array.dtype} instead of float32"
    return None
