"""The item-response part of an artifact is stored, read and checked like the rest."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.errors import ArtifactError
from router.perceive.ability.acceptance import AcceptanceParameters
from router.perceive.ability.ratings import RatingModel
from router.perceive.artifact import hashes
from router.perceive.features import Perceiver
from router.perceive.head import write_head
from router.perceive.predictor import Evidence, Predictor
from router.perceive.reader import ReaderParameters
from router.perceive.text.encoder import StaticEncoder
from router.wire.chat.request import ChatRequest
from tests.conftest import ENCODER_FOLDER
from tests.graded_prompts import EASY, HARD, graded_predictor
from tests.narrow import narrowed
from tests.perceive.test_artifact import edit, replace_arrays, stored_array, stored_names

NESTED = ("reader", "ratings")
ARRAYS = (
    *(f"acceptance.{name}" for name in stored_names(AcceptanceParameters) if name not in NESTED),
    *(f"acceptance.reader.{name}" for name in stored_names(ReaderParameters)),
    *(f"acceptance.ratings.{name}" for name in stored_names(RatingModel)),
)
INTEGERS = "acceptance.reader.landmarks"
UNKNOWN_IS_NAN = "acceptance.outcomes"
GIVES_A_SIZE = (
    *("acceptance.difficulties", "acceptance.memberships", "acceptance.outcomes"),
    "acceptance.reader.landmarks",
)
"""Arrays of which a dimension determines the expected shape of others, or is free."""


@pytest.fixture(scope="module")
def encoder(encoder: StaticEncoder) -> StaticEncoder:
    return narrowed(encoder)


@pytest.fixture(scope="module")
def graded(encoder: StaticEncoder) -> Predictor:
    return graded_predictor(encoder)


@pytest.fixture(scope="module")
def saved(graded: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "artifact"
    graded.save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy, which a test may damage."""
    shutil.copytree(saved, tmp_path / "artifact")
    return tmp_path / "artifact"


def test_every_array_of_the_part_is_stored(folder: Path) -> None:
    with np.load(folder / "head.npz") as stored:
        assert {name for name in stored if name.startswith("acceptance")} == set(ARRAYS)


def test_a_saved_predictor_gives_the_same_forecasts_to_the_bit(tmp_path: Path) -> None:
    # What adapters are for is compared with covariances of the whole encoder.
    encoder = StaticEncoder.load(ENCODER_FOLDER)
    graded = graded_predictor(encoder)
    graded.save(tmp_path)
    catalog = Catalog(
        [
            Card(id="m3", provider="openai", model="m3"),
            Card(id="unmeasured", provider="openai", model="unmeasured", tier="strong", stronger_than=("m3",)),
            Card(id="tuned", provider="openai", model="tuned", kind="adapter", base="m3"),
        ]
    )
    vectors = graded.vectors([(EASY,), (HARD,)])
    evidence = {name: Evidence(vectors, np.array([1.0, 0.0])) for name in ("unmeasured", "tuned")}
    loaded = Predictor.load(tmp_path, encoder)
    assert loaded.id == graded.id
    for prompt in (EASY, HARD, "你好"):
        before, after = (
            some.bind(catalog, evidence)(Perceiver(encoder, some.reader)(ChatRequest.from_prompt(prompt)))
            for some in (graded, loaded)
        )
        for name in ("quality", "quality_std", "independent_std", "mean_quality", "output_tokens"):
            assert getattr(before, name).tobytes() == getattr(after, name).tobytes()


def test_saving_a_loaded_predictor_gives_the_same_files(folder: Path, tmp_path: Path, encoder: StaticEncoder) -> None:
    Predictor.load(folder, encoder).save(tmp_path / "again")
    for name in ("predictor.json", "head.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in GIVES_A_SIZE])
def test_the_error_names_the_array_of_another_shape(name: str, folder: Path, encoder: StaticEncoder) -> None:
    array = np.atleast_1d(stored_array(folder, name))
    replace_arrays(folder, **{name: np.concatenate([array, array])})
    with pytest.raises(ArtifactError, match=rf"head\.npz: is damaged: {re.escape(name)} has the shape .* instead of"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "damage", [lambda array: array[..., None], lambda array: array.reshape(-1)[:0]], ids=["deeper", "empty"]
)
def test_an_array_of_other_dimensions_is_rejected(
    name: str, damage: Callable[[np.ndarray], np.ndarray], folder: Path, encoder: StaticEncoder
) -> None:
    replace_arrays(folder, **{name: damage(stored_array(folder, name))})
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: acceptance\.\S+ "):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_error_names_the_array_of_another_type(name: str, folder: Path, encoder: StaticEncoder) -> None:
    replace_arrays(folder, **{name: stored_array(folder, name).astype(np.complex128)})
    with pytest.raises(ArtifactError, match=rf"head\.npz: is damaged: {re.escape(name)} is \S+ instead of"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in (UNKNOWN_IS_NAN, INTEGERS)])
def test_an_array_with_a_value_that_is_not_finite_is_rejected(name: str, folder: Path, encoder: StaticEncoder) -> None:
    array = stored_array(folder, name)
    array.flat[-1] = np.nan
    replace_arrays(folder, **{name: array})
    with pytest.raises(ArtifactError, match=rf"{re.escape(name)} contains a value that is not finite"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize(
    "name",
    [
        "acceptance.reader.scale",
        "acceptance.ratings.noise",
        "acceptance.ratings.slope",
        "acceptance.ratings.prior_variance",
    ],
)
def test_a_value_that_must_be_positive_is_checked(name: str, folder: Path, encoder: StaticEncoder) -> None:
    array = stored_array(folder, name)
    array.flat[0] = 0.0
    replace_arrays(folder, **{name: array})
    with pytest.raises(ArtifactError, match=rf"{re.escape(name)} contains a value below"):
        Predictor.load(folder, encoder)


def test_tiers_out_of_order_are_rejected(folder: Path, encoder: StaticEncoder) -> None:
    replace_arrays(
        folder,
        **{"acceptance.tier_ratings": np.ascontiguousarray(stored_array(folder, "acceptance.tier_ratings")[::-1])},
    )
    with pytest.raises(ArtifactError, match=r"acceptance\.tier_ratings does not increase"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ARRAYS)
def test_the_error_names_the_missing_array(name: str, folder: Path, encoder: StaticEncoder) -> None:
    with np.load(folder / "head.npz") as stored:
        others = {other: array for other, array in stored.items() if other != name}
    np.savez(folder / "head.npz", **others)
    edit(folder, sha256=hashes(folder, ("head.npz",)))
    with pytest.raises(ArtifactError, match=rf'the array "{re.escape(name)}" is missing'):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize(
    "name", ["acceptance", "acceptance.reader", "acceptance.surprise", "acceptance.ratings.surprise"]
)
def test_an_unknown_array_is_rejected(name: str, folder: Path, encoder: StaticEncoder) -> None:
    replace_arrays(folder, **{name: np.zeros(1, dtype=np.float32)})
    with pytest.raises(ArtifactError, match=rf'unknown array "{re.escape(name)}"'):
        Predictor.load(folder, encoder)


def test_a_model_more_than_the_arrays_have_is_rejected(
    graded: Predictor, tmp_path: Path, encoder: StaticEncoder
) -> None:
    manifest = graded.manifest
    extra = msgspec.structs.replace(manifest.models[0], name="another")
    write_head(tmp_path, graded.head, msgspec.structs.replace(manifest, models=(*manifest.models, extra)))
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: \S+ has the shape"):
        Predictor.load(tmp_path, encoder)
