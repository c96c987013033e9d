"""The file of a `PurposeSpace` beside a predictor: `purpose.json` and `purpose.npz`, covariances without any prompt."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from router import settings
from router.errors import ArtifactError
from router.perceive.artifact import check_hashes, hashes, read_arrays, read_manifest, write_manifest
from router.perceive.purpose.space import PurposeParameters, PurposeSpace
from router.perceive.text.encoder import Encoder
from router.types import Doubles

FORMAT, VERSION = "pulvinar-purpose", 2

_MANIFEST, _ARRAYS = "purpose.json", "purpose.npz"
_SQUARES = ("topic_within", "topic_between", "surface_within", "surface_between")
_LEAST_VARIANCE = 1e-12
_DEVIATIONS = "_deviations"
"""A covariance is stored as standard deviations, and the upper triangle of its correlations as float16."""


class FittedOn(Struct, frozen=True, forbid_unknown_fields=True):
    """A data set that the covariances were fitted to: its number of prompts and of tasks, and the file's hash."""

    name: str
    prompts: int
    tasks: int
    sha256: str


class PurposeManifest(Struct, frozen=True, forbid_unknown_fields=True):
    """`purpose.json`."""

    format: str
    version: int
    encoder: str
    encoder_fingerprint: str
    data_sets: tuple[FittedOn, ...]
    command: str
    sha256: dict[str, str]


def load_purpose_space(folder: Path | None, encoder: Encoder) -> PurposeSpace:
    """The space of the artifact in `folder`, or that of the package where the artifact has none.

    Raises ArtifactError if it is damaged, or was fitted with another encoder.
    """
    folder = folder if folder is not None and (folder / _MANIFEST).is_file() else settings.shipped_artifact_folder()
    manifest = read_manifest(folder / _MANIFEST, PurposeManifest, FORMAT, VERSION)
    check_hashes(folder, manifest.sha256, (_ARRAYS,))
    if manifest.encoder_fingerprint != encoder.fingerprint:
        raise ArtifactError(
            f'{folder / _MANIFEST}: was fitted with the encoder "{manifest.encoder}", but "{encoder.name}" is used: '
            "`examples` on cards need covariances of the same encoder (`python scripts/purpose.py`)"
        )
    arrays = read_arrays(folder / _ARRAYS)
    needed = {*PurposeParameters.__struct_fields__, *(name + _DEVIATIONS for name in _SQUARES)}
    if missing := needed - set(arrays):
        raise ArtifactError(f"{folder / _ARRAYS}: is damaged: {', '.join(sorted(missing))} is missing")
    parameters = PurposeParameters(
        arrays["center"],
        arrays["surface_center"],
        arrays["surface_scale"],
        *(_covariance(arrays[name], arrays[name + _DEVIATIONS]) for name in _SQUARES),
    )
    return PurposeSpace(parameters, encoder)


def save_purpose(folder: Path, parameters: PurposeParameters, manifest: PurposeManifest) -> None:
    """Write both files into `folder`, which exists."""
    arrays = {name: getattr(parameters, name).astype(np.float32) for name in parameters.__struct_fields__}
    for name in _SQUARES:
        square = getattr(parameters, name)
        deviations = np.sqrt(np.maximum(np.diag(square), _LEAST_VARIANCE))
        correlations = square / np.outer(deviations, deviations)
        arrays[name + _DEVIATIONS] = deviations.astype(np.float32)
        arrays[name] = correlations[np.triu_indices(len(square))].astype(np.float16)
    np.savez(folder / _ARRAYS, allow_pickle=False, **arrays)
    write_manifest(folder / _MANIFEST, msgspec.structs.replace(manifest, sha256=hashes(folder, (_ARRAYS,))))


def _covariance(upper: np.ndarray, deviations: np.ndarray) -> Doubles:
    """The covariance with the upper triangle of correlations `upper`, row by row, and these standard deviations."""
    size = len(deviations)
    if len(upper) != size * (size + 1) // 2:
        raise ArtifactError(f"{_ARRAYS}: is damaged: a covariance does not have the length of its deviations")
    square = np.zeros((size, size))
    square[np.triu_indices(size)] = upper
    scale = deviations.astype(np.float64)
    covariance: Doubles = (square + np.triu(square, 1).T) * np.outer(scale, scale)
    return covariance
