from __future__ import annotations

import functools
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import Struct

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.errors import ArtifactError
from router.learn.data import RoutingSet
from router.learn.training.train import train
from router.perceive.ability.ability import FactsModel
from router.perceive.artifact import hashes
from router.perceive.features import Perceiver, feature_vector
from router.perceive.head import Head
from router.perceive.predictor import Evidence, Predictor
from router.perceive.skills import SkillParameters
from router.perceive.text.encoder import StaticEncoder
from router.wire.chat.request import ChatRequest
from tests.conftest import ENCODER_FOLDER
from tests.narrow import narrowed


def stored_names(kind: type[Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind))


ARRAYS = (
    *(name for name in stored_names(Head) if name not in ("lens", "facts", "acceptance", "traffic")),
    *(f"lens.{name}" for name in stored_names(SkillParameters)),
    *(f"facts.{name}" for name in stored_names(FactsModel)),
)
GIVES_A_SIZE = ("lens.near", "lens.landmarks", "lens.directions", "facts.loadings")
"""Arrays whose number of rows determines the expected shape of others."""
PROMPTS = ("What is 12 plus 30?", "Write a haiku.", "", "你好", "def f(): pass")


@pytest.fixture(scope="module")
def encoder(encoder: StaticEncoder) -> StaticEncoder:
    return narrowed(encoder)


@pytest.fixture(scope="module")
def predictor(planted_set: RoutingSet, encoder: StaticEncoder) -> Predictor:
    return train([planted_set], encoder)


@pytest.fixture(scope="module")
def saved(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "artifact"
    predictor.save(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy, which a test may damage."""
    shutil.copytree(saved, tmp_path / "artifact")
    return tmp_path / "artifact"


def edit(folder: Path, **fields: object) -> None:
    manifest = json.loads((folder / "predictor.json").read_text())
    (folder / "predictor.json").write_text(json.dumps(manifest | fields))


@functools.lru_cache(maxsize=2)
def _arrays_in(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content)) as stored:
        return dict(stored)


def replace_arrays(folder: Path, **arrays: np.ndarray) -> None:
    """Replace arrays and update their hash in the manifest."""
    np.savez(folder / "head.npz", **{**_arrays_in((folder / "head.npz").read_bytes()), **arrays})
    edit(folder, sha256=hashes(folder, ("head.npz",)))


def test_a_saved_predictor_gives_the_same_forecasts_to_the_bit(
    folder: Path, predictor: Predictor, encoder: StaticEncoder
) -> None:
    loaded = Predictor.load(folder, encoder)
    for prompt in PROMPTS:
        vector = feature_vector(encoder, (prompt,))
        for before, after in zip(predictor.expect(vector), loaded.expect(vector), strict=True):
            assert np.array_equal(before, after)
    assert loaded.id == predictor.id


def test_a_saved_predictor_gives_the_same_forecasts_of_cards_to_the_bit(
    tmp_path: Path, planted_set: RoutingSet
) -> None:
    # What adapters are for is compared with covariances of the whole encoder.
    encoder = StaticEncoder.load(ENCODER_FOLDER)
    predictor = train([planted_set], encoder)
    predictor.save(tmp_path)
    catalog = Catalog(
        [
            Card(id="poet", provider="openai", model="poet"),
            Card(id="unmeasured", provider="openai", model="unmeasured"),
            Card(id="tuned", provider="openai", model="tuned", kind="adapter", base="poet"),
        ]
    )
    vectors = np.stack([feature_vector(encoder, (prompt,)) for prompt in PROMPTS])
    evidence = {name: Evidence(vectors, np.array([1.0, 0.0, 1.0, 0.0, 0.5])) for name in ("unmeasured", "tuned")}
    features = Perceiver(encoder)(ChatRequest.from_prompt(PROMPTS[0]))
    predictors = (predictor, Predictor.load(tmp_path, encoder))
    before, after = (some.bind(catalog, evidence)(features) for some in predictors)
    for name in ("quality", "quality_std", "independent_std", "mean_quality", "output_tokens"):
        assert getattr(before, name).tobytes() == getattr(after, name).tobytes()


def test_saving_a_loaded_predictor_gives_the_same_files(folder: Path, tmp_path: Path, encoder: StaticEncoder) -> None:
    Predictor.load(folder, encoder).save(tmp_path / "again")
    for name in ("predictor.json", "head.npz"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_manifest_lists_models_outcomes_and_data_sets(folder: Path, encoder: StaticEncoder) -> None:
    manifest = Predictor.load(folder, encoder).manifest
    assert {model.name for model in manifest.models} == {"calculator", "poet", "generalist"}
    assert all(model.outcomes == 120 and model.data_sets == ("planted",) for model in manifest.models)
    assert [(source.name, source.prompts, source.license) for source in manifest.data_sets] == [
        ("planted", 120, "CC0-1.0")
    ]


def test_the_error_for_a_missing_artifact_names_the_command_that_creates_one(
    tmp_path: Path, encoder: StaticEncoder
) -> None:
    with pytest.raises(ArtifactError, match=r"there is no artifact folder .*route train"):
        Predictor.load(tmp_path / "nothing", encoder)


@pytest.mark.parametrize("name", ["predictor.json", "head.npz"])
def test_the_error_names_the_missing_file_of_an_artifact(name: str, folder: Path, encoder: StaticEncoder) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ["predictor.json", "head.npz"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\x00" * len(content),
        lambda content: b"x" + content[1:],
    ],
    ids=["truncated", "empty", "zeroes", "one byte"],
)
def test_the_error_names_the_damaged_file_of_an_artifact(
    name: str, damage: Callable[[bytes], bytes], folder: Path, encoder: StaticEncoder
) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(damage(content))
    with pytest.raises(ArtifactError, match=name):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("version", [1, 7])
def test_an_artifact_of_another_version_is_rejected(version: int, folder: Path, encoder: StaticEncoder) -> None:
    edit(folder, version=version)
    with pytest.raises(ArtifactError, match=f"is of version {version}, this release reads version .* train it again"):
        Predictor.load(folder, encoder)


def test_for_a_manifest_of_the_first_version_the_error_is_about_the_version_not_about_a_missing_field(
    folder: Path, encoder: StaticEncoder
) -> None:
    manifest = json.loads((folder / "predictor.json").read_text())
    del manifest["families"]
    (folder / "predictor.json").write_text(json.dumps(manifest | {"version": 1}))
    with pytest.raises(ArtifactError, match="is of version 1, this release reads version"):
        Predictor.load(folder, encoder)


def test_more_families_than_the_arrays_have_are_rejected(folder: Path, encoder: StaticEncoder) -> None:
    edit(folder, families=["llama"])
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: facts\.mean has the shape"):
        Predictor.load(folder, encoder)


def test_more_models_than_the_arrays_have_are_rejected(folder: Path, encoder: StaticEncoder) -> None:
    models = json.loads((folder / "predictor.json").read_text())["models"]
    edit(folder, models=[*models, models[0] | {"name": "another"}])
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: ability has the shape"):
        Predictor.load(folder, encoder)


def test_a_manifest_of_an_encoder_is_rejected(folder: Path, encoder: StaticEncoder) -> None:
    edit(folder, format="pulvinar-encoder")
    with pytest.raises(ArtifactError, match='expected the format "pulvinar-predictor"'):
        Predictor.load(folder, encoder)


def test_an_artifact_trained_with_another_encoder_is_rejected(folder: Path, encoder: StaticEncoder) -> None:
    edit(folder, encoder="all-MiniLM-L6-v2", encoder_fingerprint="feedface")
    with pytest.raises(ArtifactError, match=r'"all-MiniLM-L6-v2" \(feedface\), but "static" here is'):
        Predictor.load(folder, encoder)


def test_an_array_of_objects_is_rejected(folder: Path, encoder: StaticEncoder) -> None:
    replace_arrays(folder, bias=np.array([{"run": "me"}], dtype=object))
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: Object arrays cannot be loaded"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", [name for name in ARRAYS if name not in GIVES_A_SIZE])
def test_the_error_names_the_array_of_another_shape(name: str, folder: Path, encoder: StaticEncoder) -> None:
    array = stored_array(folder, name)
    replace_arrays(folder, **{name: np.concatenate([array, array])})
    with pytest.raises(ArtifactError, match=rf"head\.npz: is damaged: {re.escape(name)} has the shape .* instead of"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda array: np.concatenate([array, array]),
        lambda array: array[..., None],
        lambda array: array.reshape(-1)[0],
    ],
    ids=["twice as long", "one dimension more", "a number"],
)
def test_an_array_of_another_shape_is_rejected(
    name: str, damage: Callable[[np.ndarray], np.ndarray], folder: Path, encoder: StaticEncoder
) -> None:
    replace_arrays(folder, **{name: damage(stored_array(folder, name))})
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: .* (has the shape|must have two dimensions)"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kind", [np.int64, np.str_])
def test_an_array_of_another_type_is_rejected(
    name: str, kind: type[np.generic], folder: Path, encoder: StaticEncoder
) -> None:
    replace_arrays(folder, **{name: stored_array(folder, name).astype(kind)})
    with pytest.raises(ArtifactError, match=rf"head\.npz: is damaged: {re.escape(name)} is \S+ instead of"):
        Predictor.load(folder, encoder)


def stored_array(folder: Path, name: str) -> np.ndarray:
    with np.load(folder / "head.npz") as stored:
        return np.array(stored[name])


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "lens.landmarks"])
def test_an_array_with_a_value_that_is_not_finite_is_rejected(
    name: str, value: float, folder: Path, encoder: StaticEncoder
) -> None:
    array = stored_array(folder, name)
    array.flat[-1] = value
    replace_arrays(folder, **{name: array})
    with pytest.raises(
        ArtifactError, match=rf"head\.npz: is damaged: {re.escape(name)} contains a value that is not finite"
    ):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lens.scale", 0.0),
        ("lens.scale", -1.0),
        ("lens.likeness_scale", 0.0),
        ("facts.noise", 0.0),
        ("facts.noise", -0.1),
        ("variance", -0.1),
        ("doubt", -0.1),
    ],
)
def test_an_array_with_a_value_below_its_minimum_is_rejected(
    name: str, value: float, folder: Path, encoder: StaticEncoder
) -> None:
    array = stored_array(folder, name)
    array.flat[0] = value
    replace_arrays(folder, **{name: array})
    with pytest.raises(ArtifactError, match=rf"head\.npz: is damaged: {re.escape(name)} contains a value below"):
        Predictor.load(folder, encoder)


def test_a_length_offset_that_is_too_large_is_rejected(folder: Path, encoder: StaticEncoder) -> None:
    replace_arrays(folder, length_offset=np.full_like(stored_array(folder, "length_offset"), 90.0))
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged: length_offset contains a value out of range"):
        Predictor.load(folder, encoder)


def test_a_model_listed_twice_is_rejected(folder: Path, encoder: StaticEncoder) -> None:
    models = json.loads((folder / "predictor.json").read_text())["models"]
    edit(folder, models=[models[0], *models[:-1]])
    problem = f'the model "{models[0]["name"]}" is listed twice'
    with pytest.raises(ArtifactError, match=rf"predictor\.json: is damaged: {problem}$"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", ["surprise", "lens.surprise", "facts.surprise", "other.surprise", "lens", "facts"])
def test_an_unknown_array_is_rejected(name: str, folder: Path, encoder: StaticEncoder) -> None:
    replace_arrays(folder, **{name: np.zeros(1, dtype=np.float32)})
    with pytest.raises(ArtifactError, match=rf'head\.npz: is damaged: unknown array "{re.escape(name)}"'):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("name", [name for name in ARRAYS if name != "particular"])
def test_the_error_names_the_missing_array(name: str, folder: Path, encoder: StaticEncoder) -> None:
    with np.load(folder / "head.npz") as stored:
        others = {other: array for other, array in stored.items() if other != name}
    np.savez(folder / "head.npz", **others)
    edit(folder, sha256=hashes(folder, ("head.npz",)))
    with pytest.raises(ArtifactError, match=rf'head\.npz: is damaged: the array "{re.escape(name)}" is missing'):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a zip", b"text", b"", b"\x93NUMPY"])
def test_a_file_that_is_not_npz_is_rejected_even_if_its_hash_matches(
    content: bytes, folder: Path, encoder: StaticEncoder
) -> None:
    (folder / "head.npz").write_bytes(content)
    edit(folder, sha256=hashes(folder, ("head.npz",)))
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged"):
        Predictor.load(folder, encoder)


def test_a_zip_archive_of_other_files_is_rejected(folder: Path, encoder: StaticEncoder) -> None:
    with zipfile.ZipFile(folder / "head.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    edit(folder, sha256=hashes(folder, ("head.npz",)))
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged"):
        Predictor.load(folder, encoder)


def test_arrays_without_a_hash_in_the_manifest_are_rejected(folder: Path, encoder: StaticEncoder) -> None:
    edit(folder, sha256={})
    with pytest.raises(ArtifactError, match=r"head\.npz: is damaged"):
        Predictor.load(folder, encoder)


@pytest.mark.parametrize("particular", [[-0.1, 0.0, 1.0], [0.5, 1.1, 1.0], [0.5, 0.0, 0.0]])
def test_factors_of_the_particular_part_out_of_range_are_rejected(
    particular: list[float], folder: Path, encoder: StaticEncoder
) -> None:
    replace_arrays(folder, particular=np.array(particular))
    with pytest.raises(ArtifactError, match=r"particular contains a value that is not between 0 and 1"):
        Predictor.load(folder, encoder)
