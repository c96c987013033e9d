"""The covariances beside a predictor: what they were fitted to is named, and damage is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.errors import ArtifactError
from router.learn.encoder.purpose import TaskSet, fit_purpose
from router.loading import load_encoder
from router.perceive.features import feature_vectors
from router.perceive.purpose.file import FORMAT, VERSION, PurposeManifest, load_purpose_space, save_purpose
from router.settings import shipped_artifact_folder
from tests.perceive.purpose.tasks import TASKS, adapter, prompts

ENCODER = load_encoder("static")


def shipped(folder: Path) -> Path:
    for name in ("purpose.json", "purpose.npz"):
        shutil.copy(shipped_artifact_folder() / name, folder / name)
    return folder


def test_the_judged_sets_took_no_part_in_the_shipped_covariances() -> None:
    manifest = msgspec.json.decode((shipped_artifact_folder() / "purpose.json").read_bytes(), type=PurposeManifest)
    names = {each.name for each in manifest.data_sets}
    assert names == {"everyday", "llmrouter_default", "mint", "mmlu_helm"}


def test_damaged_covariances_are_refused(tmp_path: Path) -> None:
    (shipped(tmp_path) / "purpose.npz").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"purpose\.npz: is damaged"):
        load_purpose_space(tmp_path, ENCODER)


def test_covariances_of_another_encoder_are_refused(tmp_path: Path) -> None:
    file = shipped(tmp_path) / "purpose.json"
    file.write_text(file.read_text().replace(ENCODER.fingerprint, "0" * 16))
    with pytest.raises(ArtifactError, match="fitted with the encoder"):
        load_purpose_space(tmp_path, ENCODER)


def test_an_artifact_without_covariances_uses_those_of_the_package(tmp_path: Path) -> None:
    card = adapter("sql")
    (own,), (package,) = (load_purpose_space(folder, ENCODER).known([card]) for folder in (tmp_path, None))
    assert np.array_equal(own.surface_row, package.surface_row)


def test_fitted_covariances_are_read_back(tmp_path: Path) -> None:
    texts = [(text,) for task in TASKS for text in prompts(task)]
    tasks = [task for task in TASKS for _ in prompts(task)]
    group = TaskSet(feature_vectors(ENCODER, texts), tasks)
    parameters = fit_purpose([group, group], ENCODER)
    manifest = PurposeManifest(FORMAT, VERSION, ENCODER.name, ENCODER.fingerprint, (), "", {})
    save_purpose(tmp_path, parameters, manifest)
    read = load_purpose_space(tmp_path, ENCODER)
    assert read.known([adapter("sql")])[0].surface_row.shape == (len(parameters.surface_within),)


def test_what_is_kept_of_a_card_has_no_text() -> None:
    (known,) = load_purpose_space(None, ENCODER).known([adapter("sql", not_examples=("Drop every table.",))])
    assert not any(isinstance(value, str | bytes) for value in known)
