from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from router.errors import ConfigurationError
from router.learn.data import Prompt, vectors
from router.learn.data.vectors import embeddings_of, vectors_of
from router.perceive import features
from router.perceive.features import feature_vector
from router.perceive.text.encoder import StaticEncoder
from router.types import Floats

PROMPTS = (Prompt("a", ("old", "What is new?")), Prompt("b", ("A poem",)))


class Counting(StaticEncoder):
    """The shipped encoder, which counts its calls."""

    calls = 0

    def __init__(self, encoder: StaticEncoder) -> None:
        self.__dict__.update(encoder.__dict__)

    def encode(self, texts: Sequence[str]) -> Floats:
        self.calls += 1
        return super().encode(texts)


@pytest.fixture
def counting(encoder: StaticEncoder) -> Counting:
    return Counting(encoder)


def test_vectors_of_prompts_are_those_of_single_requests(encoder: StaticEncoder) -> None:
    vectors = vectors_of(PROMPTS, encoder)
    assert all(
        vectors[row].tobytes() == feature_vector(encoder, prompt.turns).tobytes() for row, prompt in enumerate(PROMPTS)
    )


def test_embeddings_are_those_of_the_newest_turns(encoder: StaticEncoder) -> None:
    expected = encoder.encode(["What is new?", "A poem"])
    assert embeddings_of(PROMPTS, encoder, None).tobytes() == expected.tobytes()


def test_a_second_run_reads_the_cache(counting: Counting, tmp_path: Path) -> None:
    first = embeddings_of(PROMPTS, counting, tmp_path / "cache")
    assert embeddings_of(PROMPTS, counting, tmp_path / "cache").tobytes() == first.tobytes()
    assert counting.calls == 1


@pytest.mark.parametrize(
    "others", [PROMPTS[:1], PROMPTS[::-1], (Prompt("a", ("What is new?A",)), Prompt("b", (" poem",)))]
)
def test_other_prompts_are_not_read_from_the_cache(
    others: tuple[Prompt, ...], counting: Counting, tmp_path: Path
) -> None:
    embeddings_of(PROMPTS, counting, tmp_path)
    embeddings = embeddings_of(others, counting, tmp_path)
    assert embeddings.tobytes() == counting.encode([prompt.turns[-1] for prompt in others]).tobytes()
    assert counting.calls == 3


def test_another_encoder_is_not_served_from_the_cache(counting: Counting, tmp_path: Path) -> None:
    embeddings_of(PROMPTS, counting, tmp_path)
    counting.fingerprint = "another"
    embeddings_of(PROMPTS, counting, tmp_path)
    assert counting.calls == 2


@pytest.mark.parametrize("cut", [0, 40, 200])
def test_a_truncated_cache_file_is_written_again(cut: int, counting: Counting, tmp_path: Path) -> None:
    first = embeddings_of(PROMPTS, counting, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:cut])
    assert embeddings_of(PROMPTS, counting, tmp_path).tobytes() == first.tobytes()
    assert file.read_bytes() == whole


def test_a_cache_file_with_another_shape_is_not_used(counting: Counting, tmp_path: Path) -> None:
    first = embeddings_of(PROMPTS, counting, tmp_path)
    (file,) = tmp_path.iterdir()
    np.save(file, np.zeros(3, dtype=np.float32))
    assert embeddings_of(PROMPTS, counting, tmp_path).tobytes() == first.tobytes()


def test_cached_vectors_equal_computed_ones(encoder: StaticEncoder, tmp_path: Path) -> None:
    computed = vectors_of(PROMPTS, encoder)
    assert vectors_of(PROMPTS, encoder, tmp_path / "cache").tobytes() == computed.tobytes()
    assert vectors_of(PROMPTS, encoder, tmp_path / "cache").tobytes() == computed.tobytes()


def test_vectors_do_not_depend_on_the_batch_size(encoder: StaticEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [Prompt(str(number), (f"What is {number} plus {number}?",)) for number in range(7)]
    whole = vectors_of(prompts, encoder)
    monkeypatch.setattr(vectors, "_BATCH", 3)
    assert vectors_of(prompts, encoder).tobytes() == whole.tobytes()


def test_a_second_run_encodes_a_sample_only(
    counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors, "_BATCH", 1)
    vectors_of(PROMPTS, counting, tmp_path)
    assert counting.calls == len(PROMPTS)
    vectors_of(PROMPTS, counting, tmp_path)
    assert counting.calls == len(PROMPTS) + 1


def test_cached_vectors_are_memory_mapped(encoder: StaticEncoder, tmp_path: Path) -> None:
    assert isinstance(vectors_of(PROMPTS, encoder, tmp_path), np.memmap)


@pytest.mark.parametrize(
    "others",
    [PROMPTS[::-1], (PROMPTS[0], Prompt("b", ("A", "poem"))), (Prompt("a", ("old What is new?",)), PROMPTS[1])],
    ids=["another order", "a turn more", "turns joined"],
)
def test_vectors_of_other_turns_are_cached_separately(
    others: tuple[Prompt, ...], encoder: StaticEncoder, tmp_path: Path
) -> None:
    vectors_of(PROMPTS, encoder, tmp_path)
    assert vectors_of(others, encoder, tmp_path).tobytes() == vectors_of(others, encoder).tobytes()
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_another_version_of_the_features_is_cached_separately(
    encoder: StaticEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors_of(PROMPTS, encoder, tmp_path)
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    vectors_of(PROMPTS, encoder, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:40], lambda raw: raw[:-8], lambda raw: raw[:128] + bytes(len(raw) - 128)],
    ids=["truncated header", "truncated end", "other numbers"],
)
def test_damaged_vectors_are_computed_again(
    damage: Callable[[bytes], bytes], encoder: StaticEncoder, tmp_path: Path
) -> None:
    computed = vectors_of(PROMPTS, encoder, tmp_path).tobytes()
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert vectors_of(PROMPTS, encoder, tmp_path).tobytes() == computed


def test_the_least_recently_used_vectors_are_deleted_first(
    encoder: StaticEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cached_files() -> set[str]:
        return {file.name for file in tmp_path.iterdir()}

    vectors_of(PROMPTS, encoder, tmp_path)
    (first,) = tmp_path.iterdir()
    monkeypatch.setattr(vectors, "CACHE_BYTES", 2 * first.stat().st_size)
    os.utime(first, (1, 1))
    vectors_of(PROMPTS[::-1], encoder, tmp_path)
    (second,) = cached_files() - {first.name}
    os.utime(tmp_path / second, (2, 2))
    vectors_of(PROMPTS, encoder, tmp_path)
    vectors_of((PROMPTS[0], PROMPTS[0]), encoder, tmp_path)
    assert first.name in cached_files()
    assert second not in cached_files()
    assert len(cached_files()) == 2


def test_the_error_names_a_cache_that_cannot_be_written(encoder: StaticEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file/cache: cannot be written: .*; set PULVINAR_CACHE"):
        vectors_of(PROMPTS, encoder, tmp_path / "file" / "cache")


def test_what_a_killed_run_left_is_deleted_after_a_day(tmp_path: Path, counting: Counting) -> None:
    tmp_path.joinpath(".old.npy.1f.part").touch()
    os.utime(tmp_path / ".old.npy.1f.part", (0, 0))
    tmp_path.joinpath(".new.npy.2f.part").touch()
    vectors_of(PROMPTS, counting, tmp_path)
    assert [file.name for file in tmp_path.glob(".*.part")] == [".new.npy.2f.part"]
