from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from router.learn.dataset import Prompt
from router.learn.embeddings import embeddings_of, vectors_of
from router.perceive.encoder import StaticEncoder
from router.perceive.features import feature_vector
from router.types import Floats

PROMPTS = (Prompt("a", ("old", "What is new?")), Prompt("b", ("A poem",)))


class Counting(StaticEncoder):
    """The shipped encoder, counting how often it is asked."""

    calls = 0

    def __init__(self, encoder: StaticEncoder) -> None:
        super().__init__(encoder.card, encoder._table, encoder._tokenizer)

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
    found = embeddings_of(others, counting, tmp_path)
    assert found.tobytes() == counting.encode([prompt.turns[-1] for prompt in others]).tobytes()
    assert counting.calls == 3


def test_another_encoder_is_not_served_from_the_cache(counting: Counting, tmp_path: Path) -> None:
    embeddings_of(PROMPTS, counting, tmp_path)
    counting.fingerprint = "another"
    embeddings_of(PROMPTS, counting, tmp_path)
    assert counting.calls == 2


@pytest.mark.parametrize("cut", [0, 40, 200])
def test_a_torn_cache_file_is_made_anew(cut: int, counting: Counting, tmp_path: Path) -> None:
    first = embeddings_of(PROMPTS, counting, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:cut])
    assert embeddings_of(PROMPTS, counting, tmp_path).tobytes() == first.tobytes()
    assert file.read_bytes() == whole


def test_a_cache_file_of_another_shape_is_made_anew(counting: Counting, tmp_path: Path) -> None:
    first = embeddings_of(PROMPTS, counting, tmp_path)
    (file,) = tmp_path.iterdir()
    np.save(file, np.zeros(3, dtype=np.float32))
    assert embeddings_of(PROMPTS, counting, tmp_path).tobytes() == first.tobytes()
