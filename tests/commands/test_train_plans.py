"""`route train --plans`: the gate of plans from a user's own answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.compose.learned import GATE_FILE, load_gate
from tests.answer_sets import MODELS, write_answer_set
from tests.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("narrow_loaded")


@pytest.fixture
def own_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PULVINAR_CACHE", str(tmp_path / "cache"))
    return write_answer_set(tmp_path / "own", 1000, tables=("out_chars", "logprob_q10", "logprob_q50", "logprob_min"))


def make_negative(folder: Path) -> None:
    for file in folder.glob("logprob_*.csv"):
        header, *rows = file.read_text("utf-8").splitlines()
        signed = [",-".join(row.split(",")) for row in rows]
        file.write_text("\n".join([header, *signed]) + "\n", "utf-8")


def test_the_gate_is_written_beside_the_artifact_and_only_the_gate_again(
    run: Run, own_set: Path, tmp_path: Path
) -> None:
    make_negative(own_set)
    out = tmp_path / "artifact"
    assert run("train", str(own_set), "--plans", "--out", str(out)).code == 0
    first = load_gate(out)
    assert first is not None
    assert first.data_sets[0].models == MODELS
    assert first.weights.general.own_logprobs is not None
    # There are enough texts, and other kinds too.
    assert "text" in first.weights.kinds
    (out / GATE_FILE).unlink()
    done = run("train", str(own_set), "--plans-only", "--out", str(out), "--json")
    assert done.code == 0
    assert json.loads(done.out)["gate"] == first.id


def test_a_set_without_answers_is_an_error_that_names_the_file(run: Run, own_set: Path, tmp_path: Path) -> None:
    (own_set / "answers.csv").unlink()
    done = run("train", str(own_set), "--plans", "--out", str(tmp_path / "artifact"))
    assert done.code == 2
    assert "answers.csv" in done.err
    assert not (tmp_path / "artifact").exists()


def test_only_the_gate_needs_an_artifact(run: Run, own_set: Path, tmp_path: Path) -> None:
    make_negative(own_set)
    done = run("train", str(own_set), "--plans-only", "--out", str(tmp_path / "nowhere"))
    assert done.code == 3
    assert "nowhere" in done.err


def test_too_few_prompts_are_refused(run: Run, tmp_path: Path) -> None:
    few = write_answer_set(tmp_path / "few", 50)
    done = run("train", str(few), "--plans", "--out", str(tmp_path / "artifact"))
    assert done.code == 2
    assert "200 prompts" in done.err


def test_a_plan_that_names_its_cards_gets_a_gate_and_a_column_of_its_own(
    run: Run, tmp_path: Path, own_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_negative(own_set)
    cards, plans, out = tmp_path / "cards", tmp_path / "plans", tmp_path / "artifact"
    cards.mkdir()
    plans.mkdir()
    for model in MODELS:
        # The set knows the last one by another name.
        names = "id: huge\naliases: [large]" if model == "large" else f"id: {model}"
        (cards / f"{model}.yaml").write_text(f"{names}\nprovider: openai\nmodel: {model}\n", "utf-8")
    ladder = "id: ladder\nkind: cascade\ndescription: x\nmembers: [tiny, small, large]\n"
    (plans / "ladder.yaml").write_text(ladder, "utf-8")
    free = "id: free\nkind: committee\ndescription: x\nmembers: [tiny, {best: 1}]\n"
    (plans / "free.yaml").write_text(free, "utf-8")
    arguments = ("train", str(own_set), "--cards", str(cards), "--plans-folder", str(plans), "--out", str(out))
    done = run(*arguments, "--plans")
    assert done.code == 0, done.err
    file = load_gate(out)
    assert file is not None
    assert [rule.members for rule in file.committees] == [("tiny", "small", "huge")]
    done = run(*arguments, "--plans-only")
    assert done.code == 0, done.err
    assert "a gate of its own: tiny, small, huge" in done.out
    assert "a column: cascade of tiny, small, huge (± 0.0" in done.out
    monkeypatch.setenv("PULVINAR_PLANS", str(plans))
    asked = ("What is it?", "--cards", str(cards), "--artifact", str(out), "--plans", "ladder,free", "--explain")
    explained = run(*asked, "--policy", "best")
    assert explained.code == 0, explained.err
    assert "forecast by: column of 1000 answered prompts of own" in explained.out
    assert "forecast by: closed form" in explained.out
