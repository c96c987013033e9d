"""The fitted arrays of a predictor, and the artifact folder they are stored in: `predictor.json` and `head.npz`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from router.errors import ArtifactError
from router.perceive.ability.ability import FactsModel, fact_count
from router.perceive.ability.acceptance import AcceptanceParameters, acceptance_shapes
from router.perceive.ability.ratings import RatingModel
from router.perceive.artifact import check_hashes, hashes, read_arrays, read_manifest, write_manifest
from router.perceive.features import vector_width
from router.perceive.memory.traffic import LEVEL_COLUMNS, TrafficParameters, TrafficSource
from router.perceive.reader import ReaderParameters
from router.perceive.skills import SkillParameters
from router.perceive.text.encoder import Encoder
from router.types import Doubles

FORMAT = "pulvinar-predictor"
VERSION = 3
GREATEST_LOG_TOKENS = 20.0
"""Upper bound of the forecast logarithm of one plus an answer's tokens."""

_MANIFEST, _ARRAYS = "predictor.json", "head.npz"

S = TypeVar("S", bound=Struct)


class ModelEvidence(Struct, frozen=True, forbid_unknown_fields=True):
    """The training evidence on one model: the number of outcomes, their mean score, and the data sets they are from."""

    name: str
    outcomes: int
    mean_quality: float
    data_sets: tuple[str, ...]


class DataSource(Struct, frozen=True, forbid_unknown_fields=True):
    """A data set that the predictor was trained on."""

    name: str
    prompts: int
    sha256: str
    license: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`predictor.json`. `families` are the model families that are used as facts; `traffic` says which judged answers
    the predictor was retrained from, None for one that was not.
    """

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
    traffic: TrafficSource | None = None


class Head(Struct, frozen=True, eq=False, rename={"skills": "lens", "uncertainty": "doubt", "second_moment": "usual"}):
    """The fitted arrays. Those that `rename` lists have another name in `head.npz`, whose format is fixed.

    `skills` maps a feature vector to skills. `ability` float64 `(models, 1 + skills)`. `variance` `(models + 1,)` is
    the residual variance of single outcomes, the last that of the population. `uncertainty` `(2, 2)` are the shares of
    it that are the variance of the expected quality; rows: in domain and out of domain; columns: in total, and without
    the part that all models share. `second_moment` `(1 + skills, 1 + skills)` is the mean of `x xᵀ` over the training
    prompts. `facts` gives the ability of cards without outcomes. `length` `(1 + width + landmarks,)` and
    `length_offset` `(models + 1,)` give the logarithm of one plus an answer's tokens. `particular` `(3,)` are the
    factors in domain and out of domain, in [0, 1], with which choices count what is particular to a card on a prompt,
    and the OOD probability from which on the latter holds; None counts it fully. `acceptance` is the item-response
    part, None in a predictor that was trained without graded prompts; `traffic` is what judged answers have shown
    since, None in one that was not retrained from records.
    """

    skills: SkillParameters
    ability: Doubles
    variance: Doubles
    uncertainty: Doubles
    second_moment: Doubles
    facts: FactsModel
    length: Doubles
    length_offset: Doubles
    particular: Doubles | None = None
    acceptance: AcceptanceParameters | None = None
    traffic: TrafficParameters | None = None


def encoder_name(folder: Path) -> str:
    """The name of the encoder that the artifact in `folder` was trained with. Raises ArtifactError."""
    return read_manifest(folder / _MANIFEST, Manifest, FORMAT, VERSION).encoder


def read_head(folder: Path, encoder: Encoder) -> tuple[Head, Manifest]:
    """The arrays and the manifest of an artifact.

    Raises ArtifactError if it is missing, damaged, of another format, or trained with another encoder.
    """
    manifest = read_manifest(folder / _MANIFEST, Manifest, FORMAT, VERSION)
    check_hashes(folder, manifest.sha256, (_ARRAYS,))
    try:
        head = _head_of(read_arrays(folder / _ARRAYS))
    except ValueError as error:
        raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {error}") from None
    if manifest.encoder_fingerprint != encoder.fingerprint:
        raise ArtifactError(
            f'{folder}: was trained with the encoder "{manifest.encoder}" '
            f"({manifest.encoder_fingerprint}), "
            f'but "{encoder.name}" here is {encoder.fingerprint}; train it again'
        )
    names = [model.name for model in manifest.models]
    if duplicate := next((name for name in names if names.count(name) > 1), None):
        raise ArtifactError(f'{folder / _MANIFEST}: is damaged: the model "{duplicate}" is listed twice')
    facts = fact_count(manifest.families)
    problem = _problem_of(
        head, encoder.dimensions, vector_width(encoder), len(manifest.models), len(manifest.families), facts
    ) or _problem_of_traffic(head, manifest, encoder.dimensions)
    if problem:
        raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {problem}")
    return head, manifest


def write_head(folder: Path, head: Head, manifest: Manifest) -> None:
    """Write `head.npz` and `predictor.json` into `folder`, which is created if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / _ARRAYS, allow_pickle=False, **stored_arrays(head))
    write_manifest(folder / _MANIFEST, msgspec.structs.replace(manifest, sha256=hashes(folder, (_ARRAYS,))))


def stored_arrays(head: Head) -> dict[str, np.ndarray]:
    """The arrays by their names in `head.npz`; those of nested structs as `struct.array`."""
    return _arrays_of(head, "")


def _arrays_of(struct: Struct, prefix: str) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, Struct):
            arrays |= _arrays_of(value, f"{prefix}{field.encode_name}.")
        elif value is not None:
            arrays[prefix + field.encode_name] = value
    return arrays


_NESTED: dict[str, type[Struct]] = {
    "acceptance.reader": ReaderParameters,
    "acceptance.ratings": RatingModel,
    "acceptance": AcceptanceParameters,
    "traffic": TrafficParameters,
    "lens": SkillParameters,
    "facts": FactsModel,
}
"""The structs inside a head, by the prefix of their arrays, the innermost first."""


def _head_of(arrays: Mapping[str, np.ndarray]) -> Head:
    """The head with these stored arrays. Raises ValueError if one is missing or unknown."""
    values: dict[str, Any] = dict(arrays)
    if unknown := next((name for name in _NESTED if name in values), None):
        raise ValueError(f'unknown array "{unknown}"')
    for prefix, kind in _NESTED.items():
        names = [name for name in values if name.startswith(f"{prefix}.")]
        if names or prefix in ("lens", "facts"):
            parts = {name[len(prefix) + 1 :]: values.pop(name) for name in names}
            values[prefix] = _struct_of(kind, parts, f"{prefix}.")
    return _struct_of(Head, values)


def _struct_of(kind: type[S], values: Mapping[str, Any], prefix: str = "") -> S:
    """The struct with the values of these stored names. Raises ValueError if one is missing or unknown."""
    names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    for name in values:
        if name not in names:
            raise ValueError(f'unknown array "{prefix}{name}"')
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in values and field.required:
            raise ValueError(f'the array "{prefix}{field.encode_name}" is missing')
    return kind(**{names[name]: value for name, value in values.items()})


def _problem_of(head: Head, embedded: int, width: int, models: int, families: int, facts: int) -> str | None:
    """What is wrong with the shapes and values of the arrays, or None."""
    skills, loadings = head.skills, head.facts.loadings
    if any(array.ndim != 2 for array in (skills.in_domain, skills.landmarks, skills.directions, loadings)):
        return "lens.near, lens.landmarks, lens.directions and facts.loadings must have two dimensions"
    landmarks, skill_count = len(skills.landmarks), skills.in_domain.shape[1]
    regressors, size = 1 + width + landmarks, 1 + skill_count
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
        "lens.near": (regressors, skill_count),
        "lens.far": (regressors, skill_count),
        "lens.directions": (len(skills.directions), embedded),
        "lens.precision": (len(skills.directions) + 1,),
        "lens.strangeness": (3,),
        "lens.strangeness_quantiles": (101,),
        "ability": (models, size),
        "variance": (models + 1,),
        "doubt": (2, 2),
        "usual": (size, size),
        "facts.mean": (size + facts,),
        "facts.loadings": (size + facts, loadings.shape[1]),
        "facts.noise": (size + facts,),
        "length": (regressors,),
        "length_offset": (models + 1,),
        "particular": (3,),
    }
    if head.acceptance is not None:
        shapes |= acceptance_shapes(head.acceptance, embedded, width, models, families)
    for name, array in stored_arrays(msgspec.structs.replace(head, traffic=None)).items():
        if array.shape != shapes[name]:
            return f"{name} has the shape {array.shape} instead of {shapes[name]}"
        if problem := _problem_of_values(name, array):
            return f"{name} {problem}"
    if head.acceptance is not None:
        increasing = {"tier_ratings": head.acceptance.tier_ratings, "reader.curve": head.acceptance.reader.curve[0]}
        for name, array in increasing.items():
            if (np.diff(array) <= 0).any():
                return f"acceptance.{name} does not increase"
    if np.abs(head.length_offset).max() > GREATEST_LOG_TOKENS:
        return "length_offset contains a value out of range"
    return None


def _problem_of_traffic(head: Head, manifest: Manifest, embedded: int) -> str | None:
    """What is wrong with the part from judged traffic, or None."""
    if (head.traffic is None) != (manifest.traffic is None):
        return "predictor.json and the arrays do not agree whether it was retrained from records"
    if head.traffic is None or manifest.traffic is None:
        return None
    if head.traffic.directions.ndim != 2:
        return "traffic.directions must have two dimensions"
    numbers = embedded if head.acceptance is None else embedded + 1 + len(head.acceptance.families)
    size = LEVEL_COLUMNS + len(head.traffic.directions)
    shapes = {
        "center": (numbers,),
        "directions": (len(head.traffic.directions), numbers),
        "common": (size,),
        "cards": (len(manifest.traffic.cards), size),
    }
    for name, shape in shapes.items():
        array = getattr(head.traffic, name)
        if array.shape != shape:
            return f"traffic.{name} has the shape {array.shape} instead of {shape}"
        if problem := _problem_of_values(f"traffic.{name}", array):
            return f"traffic.{name} {problem}"
    return None


_POSITIVE = (
    *("lens.scale", "lens.likeness_scale", "facts.noise", "acceptance.reader.scale"),
    *("acceptance.ratings.noise", "acceptance.ratings.slope", "acceptance.ratings.prior_variance"),
)


_KINDS = {"landmarks": np.int8, "grams": np.float16}


def _problem_of_values(name: str, array: np.ndarray) -> str | None:
    """What is wrong with the values of the array stored under this name, or None."""
    single = name.startswith(("lens.", "acceptance.reader."))
    kind = np.dtype(_KINDS.get(name.rpartition(".")[2], np.float32) if single else np.float64)
    if array.dtype != kind:
        return f"is {array.dtype} instead of {kind}"
    if not np.isfinite(array).all() and name != "acceptance.outcomes":
        return "contains a value that is not finite"
    least = 1e-12 if name in _POSITIVE else 0.0
    if (least or name in ("variance", "doubt")) and (array < least).any():
        return f"contains a value below {least:g}"
    if name == "particular" and not (array.min() >= 0 and array.max() <= 1 and array[2] > 0):
        return "contains a value that is not between 0 and 1, or a limit of zero"
    return None
