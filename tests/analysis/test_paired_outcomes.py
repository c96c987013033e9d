from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.analysis.paired_outcomes import find, pairs_of_evidence, pairs_of_lines, pairs_of_records, pairs_of_set
from router.cards import Catalog
from router.errors import CallerError, FileError, UnknownModelError
from router.learn.data import load_set
from router.types import Attempt, CallOutcome, Outcome, Usage
from tests.decide.cards import card
from tests.store.records.examples import decision_record, record

CATALOG = Catalog([card("old", aliases=["Old-7B"], model="vendor/old"), card("new"), card("third")])


def write_lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize("column", ["old", "Old-7B", "vendor/old"])
def test_outcomes_of_a_card_are_found_under_all_of_its_names(column: str) -> None:
    assert find("old", CATALOG, ["x", column], "set") == column


def test_a_column_without_a_card_may_be_compared() -> None:
    assert find("x", CATALOG, ["x"], "set") == "x"


def test_a_name_that_is_neither_card_nor_column_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(UnknownModelError, match=r'there is no card "thrid".* did you mean "third"\?'):
        find("thrid", CATALOG, ["old"], "set")


def test_a_card_without_outcomes_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(CallerError, match="set has no outcomes of third; it has those of x, y"):
        find("third", CATALOG, ["x", "y"], "set")


def test_a_set_gives_the_prompts_on_which_both_were_run(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "prompts.jsonl", *({"prompt_id": str(n), "prompt": f"q{n}", "domain": "d"} for n in range(4))
    )
    (tmp_path / "scores.csv").write_text("prompt_id,old,new\n0,1,0\n1,0,1\n2,1,\n3,0,0\n")
    (tmp_path / "answers.csv").write_text("prompt_id,old,new\n0,A,B\n1,A,B\n2,A,\n3,A, A\n")
    (tmp_path / "output_tokens.csv").write_text("prompt_id,old,new\n0,10,20\n1,10,20\n2,10,20\n3,10,20\n")
    pairs = pairs_of_set(load_set(tmp_path), "old", "new", None, tmp_path)
    assert (pairs.old.tolist(), pairs.new.tolist(), pairs.left_out) == ([1, 0, 0], [0, 1, 0], 1)
    assert pairs.turns == (("q0",), ("q1",), ("q3",))
    assert pairs.changed is not None
    assert pairs.changed.tolist() == [True, True, False]
    assert pairs.old_tokens is not None
    assert pairs.old_tokens.tolist() == [10, 10, 10]


def test_lines_of_outcomes_are_paired_by_their_prompt_and_the_last_counts(tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "outcomes.jsonl",
        {"prompt_id": 1, "card": "old", "score": 0, "prompt": "q"},
        {"prompt_id": 1, "card": "old", "score": 1, "prompt": "q"},
        {"prompt_id": "1", "card": "new", "score": 0.5, "cost_usd": 0.2},
        {"prompt_id": 2, "card": "new", "score": 1},
    )
    pairs = pairs_of_lines(file, "old", "new", CATALOG)
    assert (pairs.old.tolist(), pairs.new.tolist(), pairs.left_out, pairs.turns) == ([1], [0.5], 1, (("q",),))
    assert pairs.new_cost_usd is not None
    assert pairs.new_cost_usd.tolist() == [0.2]


@pytest.mark.parametrize("row", [{"prompt_id": 1, "card": "old", "score": 2}, {"card": "old", "score": 1}, {"x": 1}])
def test_a_line_that_is_no_outcome_is_an_error_at_its_line(tmp_path: Path, row: dict[str, Any]) -> None:
    good = {"prompt_id": 1, "card": "old", "score": 1}
    with pytest.raises(FileError, match=r"outcomes\.jsonl:2: expected"):
        pairs_of_lines(write_lines(tmp_path / "outcomes.jsonl", good, row), "old", "new", CATALOG)


def test_probes_that_both_cards_answered_are_paired(tmp_path: Path) -> None:
    def outcome(probe: str, score: float) -> dict[str, Any]:
        text = {"domain": "d", "prompt": f"p {probe}", "grader": "g", "answer": "", "model": "m", "time": "t"}
        return {"probe": probe, "score": score, "latency_ms": 1.0, **text}

    write_lines(tmp_path / "old.jsonl", outcome("a", 1), outcome("b", 1))
    write_lines(tmp_path / "new.jsonl", outcome("b", 0), outcome("c", 1))
    pairs = pairs_of_evidence(tmp_path, "old", "new", CATALOG)
    assert (pairs.old.tolist(), pairs.new.tolist(), pairs.turns, pairs.left_out) == ([1], [0], (("p b",),), 2)


def answered(card: str, prompt: int, **fields: Any) -> Any:
    outcome = Outcome(200, 1.0, card, usage=Usage(5, 7), cost_usd=0.1)
    decision = decision_record(vector=bytes([prompt]) * 4)
    return record(decision=decision, **{"outcome": outcome, **fields})


def test_records_are_paired_by_their_prompt_and_a_failed_call_is_wrong() -> None:
    failed = Outcome(200, 1.0, "third", attempts=(Attempt("new", "new", 500, 1.0, fault="server"),))
    pairs = pairs_of_records(
        [answered("old", 1), answered("new", 1), answered("old", 2), answered("new", 2, outcome=failed)],
        "store",
        "old",
        "new",
        CATALOG,
    )
    assert (pairs.old.tolist(), pairs.new.tolist()) == ([1, 1], [1, 0])
    assert pairs.old_tokens is not None
    assert np.nansum(pairs.old_tokens) == 14


def test_a_rejected_draft_of_a_plan_is_wrong_and_a_cancelled_call_no_outcome() -> None:
    calls = (
        CallOutcome("old", "draft", "rejected"),
        CallOutcome("new", "draft", "shown"),
        CallOutcome("third", "draft", "cancelled"),
    )
    planned = answered("new", 1, outcome=Outcome(200, 1.0, "new", calls=calls))
    pairs = pairs_of_records([planned], "store", "old", "new", CATALOG)
    assert (pairs.old.tolist(), pairs.new.tolist()) == ([0], [1])
    with pytest.raises(CallerError, match="store has no outcomes of third"):
        pairs_of_records([planned], "store", "old", "third", CATALOG)


def test_a_card_of_which_only_examples_are_known_needs_probes() -> None:
    catalog = Catalog([card("sql", examples=["Which customers have no orders?"]), card("old")])
    with pytest.raises(CallerError, match="ask it the probes with `route onboard`"):
        find("sql", catalog, ("old",), "evidence")
