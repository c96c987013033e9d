"""The predictor: from features to a forecast for every card of a catalogue.

First version: two levels of ridge regression. The population level forecasts how an average model does on
this prompt; a model with outcomes of its own adds its ability and what is particular to it. A card without
outcomes rests on the population level, an adapter on its base. Fitting is `router.learn.train`; here are only
array operations.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.errors import ArtifactError
from router.perceive.artifact import check_hashes, hashes, read_arrays, read_manifest, write_manifest
from router.perceive.encoder import Encoder
from router.perceive.features import vector_width
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.types import Doubles, Features, Floats, Forecast, Indices

FORMAT = "pulvinar-predictor"
VERSION = 1
_ARRAYS = "head.npz"
_LONGEST_ANSWER = 8192.0
_LONGEST_LOGARITHM = 20.0
_GREATEST_STD = 0.5
_BEND = 0.05
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
    give a prompt's leverage, `leverage_quantiles` `(101,)` those of the training.
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
    leverage_quantiles: Floats
    length_weights: Floats
    length_offset: Floats


class Expectation(NamedTuple):
    """For each model, then for the population: float64 of shape `(models + 1,)`, or `(prompts, models + 1)` for several
    prompts, with `novelty` `()` or `(prompts,)`.

    `quality_std` is the doubt about the expected quality, not about one answer: residual variance times the prompt's
    leverage, plus, for the population, how much models differ. `novelty` is that of `Forecast`.
    """

    quality: Doubles
    quality_std: Doubles
    output_tokens: Doubles
    novelty: Doubles


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
        # One product serves every linear map: the models and the population, the length, the directions.
        self._stacked = np.column_stack([head.weights, head.length_weights, head.directions.T]).astype(np.float32)
        self._variance = np.square(head.residual_std.astype(np.float64)) * head.data_ratio
        self._spread = np.square(head.spread.astype(np.float64))
        self._usual_leverage = float(head.leverage_quantiles[95])
        self.spread = float(head.spread[-1])

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
        names = [model.name for model in manifest.models]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ArtifactError(f'{folder / "predictor.json"}: is damaged: the model "{twice}" stands twice')
        if problem := _misshapen(head, vector_width(encoder), len(manifest.models) + 1):
            raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {problem}")
        return cls(head, encoder, manifest)

    def save(self, folder: Path) -> None:
        """Write `predictor.json` and `head.npz`; the encoder stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / _ARRAYS, **msgspec.structs.asdict(self.head))
        manifest = msgspec.structs.replace(self.manifest, sha256=hashes(folder, (_ARRAYS,)))
        write_manifest(folder / "predictor.json", manifest)

    def expect(self, vector: Floats) -> Expectation:
        """What to expect of each model for a feature vector.

        A prompt of more leverage than nineteen in twenty training prompts is drawn to the models' averages.
        """
        head, models = self.head, len(self.models)
        standard = np.minimum(np.maximum((vector - head.center) / head.scale, -_CLIP), _CLIP)
        # Row by row: a column's sum does not depend on the other columns, nor on how wide a machine's registers are.
        product = np.einsum("ij,i->j", self._stacked, standard)
        # A linear part says nothing beyond where it was fitted.
        linear = np.minimum(np.maximum(product[: models + 1], head.least), head.greatest)
        leverage = self._leverage(standard, product[models + 2 :])
        if leverage > self._usual_leverage:
            linear *= self._usual_leverage / leverage
        quality = head.bias + linear[-1]
        quality[:-1] += linear[:-1]
        tokens = np.expm1(head.length_offset + product[models + 1])
        return Expectation(
            # Six decimals: the last bits of single precision say nothing.
            quality=_squashed(quality).astype(np.float64).round(6),
            quality_std=np.minimum(np.sqrt(self._variance * leverage + self._spread), _GREATEST_STD).round(6),
            output_tokens=np.minimum(np.maximum(tokens, 1.0), _LONGEST_ANSWER).astype(np.float64).round(),
            novelty=np.array(np.searchsorted(head.leverage_quantiles, leverage) / len(head.leverage_quantiles)),
        )

    def expect_all(self, vectors: Floats) -> Expectation:
        """What `expect` says of each row of `vectors` `(prompts, width)`."""
        return Expectation(*map(np.stack, zip(*map(self.expect, vectors), strict=True)))

    def bind(self, catalog: Catalog) -> Forecaster:
        """A forecaster for the cards of `catalog`."""
        return Forecaster(self, catalog)

    def column(self, catalog: Catalog, position: int) -> int:
        """Which column forecasts the card at `position`: its own, its base's, or the population's."""
        card = catalog[position]
        names = card.names if card.base is None else (*card.names, *catalog.named(card.base).names)
        return next((self._column[name] for name in names if name in self._column), len(self.models))

    def _leverage(self, standard: Floats, along: Floats) -> float:
        rest = float(np.square(standard).sum()) * float(self.head.rest_gain[0])
        return max(rest + float((np.square(along) * self.head.direction_gain).sum()), 0.0)


class Forecaster:
    """Forecasts for one catalogue. A card's forecast depends on that card alone."""

    def __init__(self, predictor: Predictor, catalog: Catalog) -> None:
        self._predictor = predictor
        cards = catalog.columns
        self._longest = np.where(np.isnan(cards.max_output_tokens), np.inf, cards.max_output_tokens)
        self._input_usd, self._output_usd = cards.input_price_usd_per_mtok / 1e6, cards.output_price_usd_per_mtok / 1e6
        self._ttft_ms, self._ttft_unknown = cards.ttft_ms, np.isnan(cards.ttft_ms)
        estimated = time_per_token_ms(cards.active_parameters)
        self._tpot_ms = np.where(np.isnan(cards.tpot_ms), estimated, cards.tpot_ms)
        self._active_parameters = cards.active_parameters
        positions = range(len(catalog))
        self._usual_quality = _squashed(predictor.head.bias).astype(np.float64).round(6)
        self._column: Indices = np.array([predictor.column(catalog, each) for each in positions], dtype=np.intp)
        # What an adapter changes about its base is as unknown as how one model differs from another.
        measured = set(predictor.models)
        rests_on_base = [card.base is not None and not measured.intersection(card.names) for card in catalog]
        inherits = np.array(rests_on_base, dtype=np.bool_) & (self._column < len(measured))
        self._added_variance = np.where(inherits, predictor.spread**2, 0.0)

    def __call__(self, features: Features) -> Forecast:
        """The forecast of every card, in the catalogue's order."""
        expected = self._predictor.expect(features.vector)
        output_tokens = np.minimum(expected.output_tokens[self._column], self._longest)
        if features.output_limit is not None:
            output_tokens = np.minimum(output_tokens, features.output_limit)
        estimated = time_to_first_token_ms(self._active_parameters, features.input_tokens)
        ttft_ms = np.where(self._ttft_unknown, estimated, self._ttft_ms)
        return Forecast(
            quality=expected.quality[self._column],
            quality_std=np.minimum(
                np.sqrt(np.square(expected.quality_std[self._column]) + self._added_variance), _GREATEST_STD
            ),
            usual_quality=self._usual_quality[self._column],
            output_tokens=output_tokens,
            cost_usd=features.input_tokens * self._input_usd + output_tokens * self._output_usd,
            ttft_ms=ttft_ms,
            latency_ms=ttft_ms + output_tokens * self._tpot_ms,
            novelty=float(expected.novelty),
        )


def _squashed(quality: Floats) -> Floats:
    """`quality` as it is in the middle, bending towards 0 and 1 near the ends; what was greater stays greater."""
    low, high = np.maximum(_BEND - quality, 0.0), np.maximum(quality - (1.0 - _BEND), 0.0)
    middle = np.minimum(np.maximum(quality, _BEND), 1.0 - _BEND)
    bent: Floats = middle + high * (_BEND / (_BEND + high)) - low * (_BEND / (_BEND + low))
    return bent


def _misshapen(head: Head, width: int, columns: int) -> str | None:
    """What is wrong with the arrays of `head`, or None."""
    directions = len(head.directions) if head.directions.ndim else 0
    shapes: dict[str, tuple[int, ...]] = {"weights": (width, columns), "directions": (directions, width)}
    shapes |= {"direction_gain": (directions,), "rest_gain": (1,), "leverage_quantiles": (101,)}
    shapes |= dict.fromkeys(("center", "scale", "length_weights"), (width,))
    for name, array in msgspec.structs.asdict(head).items():
        if array.shape != (expected := shapes.get(name, (columns,))):
            return f"{name} has the shape {array.shape} instead of {expected}"
        if array.dtype != np.float32:
            return f"{name} is {array.dtype} instead of float32"
        if not np.isfinite(array).all():
            return f"{name} holds a value that is not finite"
    for name, least in (("scale", 1e-12), ("residual_std", 0.0), ("data_ratio", 0.0), ("spread", 0.0)):
        if (getattr(head, name) < least).any():
            return f"{name} holds a value below {least:g}"
    if np.abs(head.length_offset).max() > _LONGEST_LOGARITHM:
        return "length_offset holds a value out of range"
    return None
