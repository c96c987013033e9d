"""bench.training repeats real sets and trains on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.training import train, write_repeated, write_set
from router.learn.data import load_set


def test_a_repeated_set_has_the_outcomes_of_its_source_and_prompts_in_other_words(tmp_path: Path) -> None:
    write_set(tmp_path / "source", 30, 3, seed=0)
    assert write_repeated(tmp_path / "set", 75, tmp_path / "source", seed=0) == 3
    source, repeated = load_set(tmp_path / "source"), load_set(tmp_path / "set")
    assert len(repeated.prompts) == 75
    np.testing.assert_array_equal(repeated.scores, source.scores[np.arange(75) % 30])
    texts = [prompt.turns for prompt in repeated.prompts]
    assert texts[:30] == [prompt.turns for prompt in source.prompts]
    assert len(set(texts)) == 75
    own, other = (set(texts[row][0].split()) for row in (2, 32))
    assert len(own & other) > len(own) / 2


def test_it_trains_and_measures_the_process(tmp_path: Path) -> None:
    write_set(tmp_path / "set", 40, 2, seed=0)
    assert train(tmp_path, "empty cache").cpu_s > 0
    assert list((tmp_path / "cache").rglob("*.npy"))
