"""The predictor: from features to a forecast for every card of a catalogue.

A prompt's features are read as skills (`router.perceive.skills`), a card's evidence as an ability in these skills
(`router.perceive.ability`): outcomes first, else a few probes, else published facts, else the population. An adapter
without evidence of its own rests on its base. Fitting is `router.learn.training.train`; here are only array operations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.facts import facts_of
from router.errors import ArtifactError
from router.perceive.ability import Ability, FactsModel, fact_count, facts_row, profile_of
from router.perceive.artifact import check_hashes, hashes, read_arrays, read_manifest, write_manifest
from router.perceive.encoder import Encoder
from router.perceive.evidence import ProbeOutcome
from router.perceive.features import feature_vectors, vector_width
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.perceive.skills import SkillParameters, SkillProjector, row_by_row
from router.types import GREATEST_STD, Doubles, Features, Floats, Forecast, Indices

FORMAT = "pulvinar-predictor"
VERSION = 2
_ARRAYS = "head.npz"
_LONGEST_ANSWER = 8192.0
_LONGEST_LOGARITHM = 20.0
_BEND = 0.05


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
    """`predictor.json`. `families` are the model families that count as facts."""

    format: str
    version: int
    release: str
    encoder: str
    encoder_fingerprint: str
    models: tuple[ModelEvidence, ...]
    data_sets: tuple[DataSource, ...]
    families: tuple[str, ...]
    sha256: dict[str, str]
    command: str = ""


class Head(Struct, frozen=True, eq=False):
    """The fitted numbers.

    `lens` reads a prompt. `ability` float64 `(models, 1 + skills)`; `variance` `(models + 1,)`, the residual variance
    of single outcomes, the last the population's, of which the shares `doubt` `(2, 2)` are the variance of the
    expectation: near the training and far from it; in all, and the model's own. `facts` gives the ability of cards
    without outcomes. `usual` `(1 + skills, 1 + skills)` is the mean of `x xᵀ` over the prompts. `length`
    `(1 + width + landmarks,)` and `length_offset` `(models + 1,)` give the logarithm of one plus an answer's tokens.
    """

    lens: SkillParameters
    ability: Doubles
    variance: Doubles
    doubt: Doubles
    usual: Doubles
    facts: FactsModel
    length: Doubles
    length_offset: Doubles


class Expectation(NamedTuple):
    """For each model, then for the population: float64 of shape `(models + 1,)`, or `(prompts, models + 1)` for several
    prompts, with `novelty` `()` or `(prompts,)`.

    `quality_std` is the doubt about the expected quality, not about one answer. `novelty` is that of `Forecast`.
    """

    quality: Doubles
    quality_std: Doubles
    output_tokens: Doubles
    novelty: Doubles


def encoder_name(folder: Path) -> str:
    """Which encoder the artifact in `folder` was trained with. Raises ArtifactError."""
    return read_manifest(folder / "predictor.json", Manifest, FORMAT, VERSION).encoder


class Evidence(Struct, frozen=True, eq=False):
    """Outcomes of probes on one card: feature vectors `(probes, width)`, scores in [0, 1] `(probes,)`."""

    vectors: Floats
    scores: Doubles


def evidence_of(outcomes: Mapping[str, Sequence[ProbeOutcome]], encoder: Encoder) -> dict[str, Evidence]:
    """The probes' outcomes by card id, as `Predictor.bind` takes them."""
    return {
        card: Evidence(
            feature_vectors(encoder, [(each.prompt,) for each in own]),
            np.array([each.score for each in own], dtype=np.float64),
        )
        for card, own in outcomes.items()
        if own
    }


class Predictor:
    """A head, the encoder it was fitted with, and what is known of each model."""

    def __init__(self, head: Head, encoder: Encoder, manifest: Manifest) -> None:
        self.head, self.encoder, self.manifest = head, encoder, manifest
        self.models = tuple(model.name for model in manifest.models)
        digest = hashlib.sha256(encoder.fingerprint.encode())
        for array in _flat(head).values():
            digest.update(array.tobytes())
        self.id = f"skills-{digest.hexdigest()[:12]}"
        self.reader = SkillProjector(head.lens)
        self._column = {model.name: row for row, model in enumerate(manifest.models) if model.outcomes}
        self._length = head.length.astype(np.float64)
        self.population = head.facts.ability(facts_row(None, manifest.families))
        self._abilities = np.vstack([head.ability, self.population.mean])

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Predictor:
        """Read an artifact. Raises ArtifactError where it is missing, damaged, foreign, or made for other
        vectors.
        """
        manifest = read_manifest(folder / "predictor.json", Manifest, FORMAT, VERSION)
        check_hashes(folder, manifest.sha256, (_ARRAYS,))
        try:
            head = _nested(read_arrays(folder / _ARRAYS))
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
        facts = fact_count(manifest.families)
        if problem := _misshapen(head, encoder.dimensions, vector_width(encoder), len(manifest.models), facts):
            raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {problem}")
        return cls(head, encoder, manifest)

    def save(self, folder: Path) -> None:
        """Write `predictor.json` and `head.npz`; the encoder stays where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / _ARRAYS, allow_pickle=False, **_flat(self.head))
        manifest = msgspec.structs.replace(self.manifest, sha256=hashes(folder, (_ARRAYS,)))
        write_manifest(folder / "predictor.json", manifest)

    def expect(self, vector: Floats) -> Expectation:
        """What to expect of each model for a feature vector `(width,)`."""
        return Expectation(*(each[0] for each in self.expect_all(vector[None])))

    def expect_all(self, vectors: Floats) -> Expectation:
        """What `expect` says of each row of `vectors` `(prompts, width)`, to the same bits."""
        seen = self.look(vectors)
        variance = seen.doubt[:, None] * self.head.variance
        variance[:, -1] += self.along(seen, self.population.covariance)
        return Expectation(
            quality=quality_of(row_by_row(seen.profiles, self._abilities.T)),
            quality_std=deviation_of(variance),
            output_tokens=_tokens(seen.length[:, None] + self.head.length_offset),
            novelty=seen.novelty,
        )

    def look(self, vectors: Floats) -> PromptProfile:
        """What is seen of prompts before any card is looked at."""
        reading = self.reader(vectors)
        near, far = self.head.doubt
        doubt = near + reading.farness[:, None] * (far - near)
        return PromptProfile(
            profiles=profile_of(reading.skills),
            doubt=doubt[:, 0],
            own_doubt=doubt[:, 1],
            length=row_by_row(reading.read, self._length[:, None])[:, 0],
            farness=reading.farness,
            novelty=reading.novelty,
        )

    def along(self, seen: PromptProfile, covariance: Doubles) -> Doubles:
        """The variance `(prompts,)` of expectations by an ability of this covariance.

        Far from the training, where skills are small because nothing is known, it is no less than on average.
        """
        variance: Doubles = (row_by_row(seen.profiles, covariance) * seen.profiles).sum(axis=1)
        return np.maximum(variance, seen.farness * float((covariance * self.head.usual).sum()))

    def bind(self, catalog: Catalog, evidence: Mapping[str, Evidence] | None = None) -> Forecaster:
        """A forecaster for the cards of `catalog`; `evidence` holds outcomes of probes by card id."""
        return Forecaster(self, catalog, evidence or {})

    def column(self, catalog: Catalog, position: int) -> int | None:
        """Which model's outcomes are those of the card at `position`; None where nobody has measured it."""
        return next((self._column[name] for name in catalog[position].names if name in self._column), None)

    def place(self, catalog: Catalog, position: int, evidence: Mapping[str, Evidence]) -> tuple[Ability, int]:
        """The ability of the card at `position`, and the row of `variance` that goes with it.

        From its outcomes; else from its base, its facts or the population, narrowed by its probes.
        """
        card = catalog[position]
        column = self.column(catalog, position)
        size = self.head.ability.shape[1]
        if column is not None:
            ability, row = Ability(self.head.ability[column], np.zeros((size, size))), column
        elif card.base is not None and (base := catalog.position(card.base)) is not None:
            # What an adapter changes about its base is as unknown as how one model differs from another.
            resting, row = self.place(catalog, base, evidence)
            ability = Ability(resting.mean, self.population.covariance)
        else:
            ability = self.head.facts.ability(facts_row(facts_of(card), self.manifest.families))
            row = len(self.models)
        if card.id in evidence:
            own = evidence[card.id]
            ability = ability.observe(self.look(own.vectors).profiles, own.scores)
        return ability, row


class PromptProfile(NamedTuple):
    """Of each prompt: `profiles` `(prompts, 1 + skills)`; `doubt`, the share of a model's residual variance by which
    its expectation is uncertain, and `own_doubt`, that by which it is apart from the other models; `length`, the common
    part of the logarithm of an answer's tokens; `farness` and `novelty` as in `Reading`.
    """

    profiles: Doubles
    doubt: Doubles
    own_doubt: Doubles
    length: Doubles
    farness: Doubles
    novelty: Doubles


class Forecaster:
    """Forecasts for one catalogue. A card's forecast depends on that card alone."""

    def __init__(self, predictor: Predictor, catalog: Catalog, evidence: Mapping[str, Evidence]) -> None:
        self._predictor = predictor
        head, cards = predictor.head, catalog.columns
        self._longest = np.where(np.isnan(cards.max_output_tokens), np.inf, cards.max_output_tokens)
        self._input_usd, self._output_usd = cards.input_price_usd_per_mtok / 1e6, cards.output_price_usd_per_mtok / 1e6
        self._ttft_ms, self._ttft_unknown = cards.ttft_ms, np.isnan(cards.ttft_ms)
        estimated = time_per_token_ms(cards.active_parameters)
        self._tpot_ms = np.where(np.isnan(cards.tpot_ms), estimated, cards.tpot_ms)
        self._active_parameters = cards.active_parameters
        placed = [predictor.place(catalog, position, evidence) for position in range(len(catalog))]
        size = head.ability.shape[1]
        self._abilities = np.array([ability.mean for ability, _ in placed]).reshape(-1, size)
        rows: Indices = np.array([row for _, row in placed], dtype=np.intp)
        self._usual_quality = quality_of(self._abilities[:, 0])
        self._variance, self._length = head.variance[rows], head.length_offset[rows]
        # Cards with the same doubt about their ability share one matrix.
        kinds: dict[bytes, int] = {}
        self._kind: Indices = np.array(
            [kinds.setdefault(ability.covariance.tobytes(), len(kinds)) for ability, _ in placed], dtype=np.intp
        )
        self._covariances = np.frombuffer(b"".join(kinds)).reshape(-1, size, size)
        self._usual_doubts = (self._covariances * head.usual).sum(axis=(1, 2))

    def __call__(self, features: Features) -> Forecast:
        """The forecast of every card, in the catalogue's order."""
        seen = self._predictor.look(features.vector[None])
        profile = seen.profiles[0]
        # A card's sum does not depend on the other cards, as a product of matrices might.
        expected = (self._abilities * profile).sum(axis=1)
        doubts = np.maximum(((self._covariances @ profile) * profile).sum(axis=1), seen.farness[0] * self._usual_doubts)
        shares = np.array([seen.doubt, seen.own_doubt])
        quality_std, independent_std = deviation_of(shares * self._variance + doubts[self._kind])
        output_tokens = np.minimum(_tokens(seen.length[0] + self._length), self._longest)
        if features.output_limit is not None:
            output_tokens = np.minimum(output_tokens, features.output_limit)
        estimated = time_to_first_token_ms(self._active_parameters, features.input_tokens)
        ttft_ms = np.where(self._ttft_unknown, estimated, self._ttft_ms)
        return Forecast(
            quality=quality_of(expected),
            quality_std=quality_std,
            independent_std=independent_std,
            mean_quality=self._usual_quality,
            output_tokens=output_tokens,
            cost_usd=features.input_tokens * self._input_usd + output_tokens * self._output_usd,
            ttft_ms=ttft_ms,
            latency_ms=ttft_ms + output_tokens * self._tpot_ms,
            novelty=float(seen.novelty[0]),
        )


def quality_of(expected: Doubles) -> Doubles:
    """Expectations as qualities in (0, 1), to six decimals: the last bits say nothing."""
    return _squashed(expected).round(6)


def deviation_of(variance: Doubles) -> Doubles:
    """The standard deviation of an expected quality, to six decimals."""
    deviation: Doubles = np.minimum(np.sqrt(np.maximum(variance, 1e-10)), GREATEST_STD).round(6)
    return deviation


def _tokens(logarithm: Doubles) -> Doubles:
    tokens: Doubles = np.minimum(np.maximum(np.expm1(np.minimum(logarithm, _LONGEST_LOGARITHM)), 1.0), _LONGEST_ANSWER)
    return tokens.round()


def _squashed(quality: Doubles) -> Doubles:
    """`quality` as it is in the middle, bending towards 0 and 1 near the ends; what was greater stays greater."""
    low, high = np.maximum(_BEND - quality, 0.0), np.maximum(quality - (1.0 - _BEND), 0.0)
    middle = np.minimum(np.maximum(quality, _BEND), 1.0 - _BEND)
    bent: Doubles = middle + high * (_BEND / (_BEND + high)) - low * (_BEND / (_BEND + low))
    return bent


def _flat(head: Head) -> dict[str, np.ndarray]:
    """The arrays of a head by name; those of its parts as `part.name`."""
    flat: dict[str, np.ndarray] = {}
    for name, value in msgspec.structs.asdict(head).items():
        if isinstance(value, np.ndarray):
            flat[name] = value
        else:
            flat |= {f"{name}.{part}": array for part, array in msgspec.structs.asdict(value).items()}
    return flat


def _nested(flat: Mapping[str, np.ndarray]) -> Head:
    """The head of these arrays. Raises TypeError where one is missing or unknown."""
    parts: dict[str, dict[str, np.ndarray]] = {"lens": {}, "facts": {}}
    own = {}
    for name, array in flat.items():
        part, dot, rest = name.partition(".")
        if dot and part not in parts:
            raise TypeError(f"unexpected array '{name}'")
        if dot:
            parts[part][rest] = array
        else:
            own[name] = array
    return Head(lens=SkillParameters(**parts["lens"]), facts=FactsModel(**parts["facts"]), **own)


def _misshapen(head: Head, embedded: int, width: int, models: int, facts: int) -> str | None:
    """What is wrong with the arrays of `head`, or None."""
    lens = head.lens
    if any(each.ndim != 2 for each in (lens.near, lens.landmarks, lens.directions, head.facts.loadings)):
        return "lens.near, lens.landmarks, lens.directions and facts.loadings must have two dimensions"
    landmarks, skills, factors = len(lens.landmarks), lens.near.shape[1], head.facts.loadings.shape[1]
    read, size = 1 + width + landmarks, 1 + skills
    shapes: dict[str, tuple[int, ...]] = {
        "lens.center": (width,),
        "lens.scale": (width,),
        "lens.topic_center": (embedded,),
        "lens.landmarks": (landmarks, embedded),
        "lens.landmark_scale": (landmarks,),
        "lens.sharpness": (1,),
        "lens.likeness_center": (landmarks,),
        "lens.likeness_scale": (landmarks,),
        "lens.gate": (2,),
        "lens.near": (read, skills),
        "lens.far": (read, skills),
        "lens.directions": (len(lens.directions), embedded),
        "lens.precision": (len(lens.directions) + 1,),
        "lens.strangeness": (3,),
        "lens.strangeness_quantiles": (101,),
        "ability": (models, size),
        "variance": (models + 1,),
        "doubt": (2, 2),
        "usual": (size, size),
        "facts.mean": (size + facts,),
        "facts.loadings": (size + facts, factors),
        "facts.noise": (size + facts,),
        "length": (read,),
        "length_offset": (models + 1,),
    }
    for name, array in _flat(head).items():
        if array.shape != shapes[name]:
            return f"{name} has the shape {array.shape} instead of {shapes[name]}"
        if problem := _unusable(name, array):
            return f"{name} {problem}"
    if np.abs(head.length_offset).max() > _LONGEST_LOGARITHM:
        return "length_offset holds a value out of range"
    return None


def _unusable(name: str, array: np.ndarray) -> str | None:
    """What is wrong with the values of the array of this name, or None."""
    kind = np.dtype(np.int8 if name == "lens.landmarks" else np.float32 if name.startswith("lens.") else np.float64)
    if array.dtype != kind:
        return f"is {array.dtype} instead of {kind}"
    if not np.isfinite(array).all():
        return "holds a value that is not finite"
    least = 1e-12 if name in ("lens.scale", "lens.likeness_scale", "facts.noise") else 0.0
    if (least or name in ("variance", "doubt")) and (array < least).any():
        return f"holds a value below {least:g}"
    return None
