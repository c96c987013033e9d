from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router.errors import CallerError, ConfigurationError, FileError
from router.learn.data import RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.evaluation.ood import UnknownPrompts, auroc, compare_novelty, fpr_95, read_unknown
from router.perceive.text.encoder import StaticEncoder


def test_auroc_is_the_share_of_rightly_ordered_pairs() -> None:
    assert auroc(np.array([0.1, 0.2]), np.array([0.3, 0.4])) == 1.0
    assert auroc(np.array([0.1, 0.3]), np.array([0.2, 0.3])) == pytest.approx((1 + 0 + 1 + 0.5) / 4)


def test_fpr_95_is_the_share_of_unknown_prompts_that_pass_as_known() -> None:
    known = np.linspace(0, 1, 101)
    assert fpr_95(known, np.array([0.9, 0.94, 0.96, 2.0])) == 0.5
    assert fpr_95(known, known) == pytest.approx(0.95, abs=0.01)


@pytest.fixture
def clinc(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    splits = {
        "train": [[f"what is my balance number {n}", "balance"] for n in range(20)]
        + [[f"play song number {n} for me", "play_music"] for n in range(20)],
        "oos_test": [[f"who won the cup in {1900 + n}", "oos"] for n in range(10)],
    }
    (folder / "data_full.json").write_text(json.dumps(splits))
    (folder / "domains.json").write_text(json.dumps({"banking": ["balance"], "leisure": ["play_music"]}))
    return folder


def test_clinc_is_read_with_its_scope(clinc: Path) -> None:
    for path in (clinc, clinc / "data_full.json"):
        unknown = read_unknown(path)
        assert (len(unknown.scope), len(unknown.prompts)) == (40, 10)
        assert {prompt.domain for prompt in unknown.scope} == {"banking", "leisure"}


def test_all_prompts_of_a_folder_or_file_are_unknown(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt_id": 1, "prompt": "Hello"}\n')
    for path in (tmp_path, file):
        unknown = read_unknown(path)
        assert (len(unknown.prompts), unknown.scope) == (1, ())


def test_prompts_marked_out_of_scope_are_the_unknown_ones(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"prompt_id": 1, "prompt": "Hello", "domain": "greeting"}\n{"prompt_id": 2, "prompt": "Oh", "domain": "oos"}\n'
    )
    unknown = read_unknown(file)
    assert ([prompt.id for prompt in unknown.prompts], [prompt.id for prompt in unknown.scope]) == (["2"], ["1"])


def test_the_error_names_a_file_without_prompts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a folder with prompts\.jsonl"):
        read_unknown(tmp_path)
    (tmp_path / "data_full.json").write_text('{"train": [["only a text"]]}')
    with pytest.raises(FileError, match="data_full"):
        read_unknown(tmp_path)


def test_poems_are_detected_as_unknown_after_training_on_sums(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    sums, poems = planted_set.rows(np.arange(0, 120, 2)), planted_set.rows(np.arange(1, 120, 2))
    lines = compare_novelty(sums, vectors_of(sums.prompts, encoder), UnknownPrompts("poems", poems.prompts), encoder)
    by_method = {line.method: line for line in lines}
    # One domain: there is nothing for a classifier of domains to tell apart.
    assert set(by_method) == {"pulvinar", "distance to the 10th neighbour", "Mahalanobis"}
    assert by_method["distance to the 10th neighbour"].auroc > 0.95
    assert by_method["Mahalanobis"].auroc > 0.95
    assert by_method["pulvinar"].auroc > 0.6
    assert all((line.known_prompts, line.unknown_prompts) == (12, 60) for line in lines)


def test_prompts_of_the_same_kind_are_not_detected_as_unknown(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    known, same = planted_set.rows(np.arange(80)), planted_set.rows(np.arange(80, 120))
    lines = compare_novelty(known, vectors_of(known.prompts, encoder), UnknownPrompts("same", same.prompts), encoder)
    assert "max-softmax of domains" in {line.method for line in lines}
    assert all(abs(line.auroc - 0.5) < 0.25 for line in lines)


def test_prompts_out_of_scope_are_compared_with_those_in_scope(
    clinc: Path, planted_set: RoutingSet, encoder: StaticEncoder
) -> None:
    lines = compare_novelty(planted_set, vectors_of(planted_set.prompts, encoder), read_unknown(clinc), encoder)
    pairs = {(line.known, line.unknown): line for line in lines}
    assert set(pairs) == {("planted", "tiny"), ("tiny in scope", "tiny out of scope")}
    assert pairs["tiny in scope", "tiny out of scope"].unknown_prompts == 10


def test_prompts_that_are_all_known_cannot_be_unknown(planted_set: RoutingSet, encoder: StaticEncoder) -> None:
    vectors = vectors_of(planted_set.prompts, encoder)
    with pytest.raises(CallerError, match="every prompt of twin is also in planted"):
        compare_novelty(planted_set, vectors, UnknownPrompts("twin", planted_set.prompts), encoder)
