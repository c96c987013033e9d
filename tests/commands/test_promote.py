from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router.perceive.predictor import Predictor
from router.store.records.journal import Journal
from router.types import Attempt, Outcome, Usage
from tests.commands.conftest import Run
from tests.store.records.examples import decision_record, record

CARD = "id: {0}\nprovider: openai\nmodel: {0}  # the upstream's name\nprice: {{input: {1}$, output: {1}$}}\n"
PORTED = "lineage:\n  # moved by hand\n  state: ported\n  parents: [old]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten prompts: the new card gains two and loses one, in law. A ported card, and a card without outcomes."""
    data, cards = tmp_path / "data", tmp_path / "cards"
    data.mkdir()
    cards.mkdir()
    rows = [{"prompt_id": str(n), "prompt": f"question {n}?", "domain": "law" if n < 5 else "maths"} for n in range(10)]
    (data / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    old, new = "1111100000", "1111011000"
    lines = [f"{n},{old[n]},{new[n]},0" for n in range(10)]
    (data / "scores.csv").write_text("prompt_id,old,new,worst\n" + "\n".join(lines) + "\n")
    (data / "output_tokens.csv").write_text(
        "prompt_id,old,new,worst\n" + "".join(f"{n},100,200,1\n" for n in range(10))
    )
    for name, price in (("old", 10), ("new", 10), ("worst", 1), ("absent", 1)):
        text = CARD.format(name, price) + (PORTED if name == "new" else "")
        (cards / f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.fixture
def promote(run: Run, folder: Path) -> Run:
    def call(*arguments: str | Path) -> object:
        return run("promote", *arguments, "--cards", folder / "cards")

    return call  # type: ignore[return-value]


def test_the_report_has_the_exact_figures(promote: Run, folder: Path) -> None:
    ended = promote("new", "--against", "old", "--on", folder / "data", "--json")
    report = json.loads(ended.out)
    assert ended.code == 0
    assert report["promoted"] is True
    flips = report["flips"]
    assert (flips["negative"], flips["positive"], flips["both_right"], flips["both_wrong"]) == (1, 2, 4, 3)
    assert (flips["old_accuracy"], flips["new_accuracy"], flips["btc"], flips["bec"]) == (0.5, 0.6, 0.8, 0.75)
    assert [line["domain"] for line in report["domains"]] == ["law", "maths"]
    assert report["output_tokens"] == {"prompts": 10, "old": 100.0, "new": 200.0}
    assert report["cost_usd"]["new"] > report["cost_usd"]["old"] > 0
    assert report["route"]["prompts"] == 10


def test_the_text_states_flips_domains_and_verdict(promote: Run, folder: Path) -> None:
    out = promote("new", "--against", "old", "--on", folder / "data", "--sample", "0").out
    assert "negative flips: right before, wrong now" in out
    assert "right before that stays right (BTC)" in out
    assert "\npromoted\n" in out
    assert "no budget of negative flips was given" in out


def test_a_card_over_its_budget_is_refused_and_its_file_unchanged(promote: Run, folder: Path) -> None:
    file = folder / "cards" / "new.yaml"
    before = file.read_text()
    budget = ("--max-negative-flips", "5%")
    ended = promote("new", "--against", "old", "--on", folder / "data", *budget, "--write", file)
    assert ended.code == 1
    assert "10% negative flips (1 of 10 prompts), more than the budget of 5%" in ended.out
    assert file.read_text() == before


def test_a_promoted_card_keeps_its_comments(promote: Run, folder: Path) -> None:
    file = folder / "cards" / "new.yaml"
    before = file.read_text()
    ended = promote("new", "--against", "old", "--on", folder / "data", "--max-negative-flips", "0.1", "--write", file)
    assert ended.code == 0
    assert file.read_text() == before.replace("ported", "promoted")


def test_a_card_that_is_always_wrong_is_refused(promote: Run, folder: Path) -> None:
    ended = promote("worst", "--against", "old", "--on", folder / "data", "--sample", "0")
    assert ended.code == 1
    assert "its 95 % interval has no gain" in ended.out


def test_outcomes_may_come_from_a_file_of_lines(promote: Run, folder: Path) -> None:
    file = folder / "outcomes.jsonl"
    rows = [{"prompt_id": n, "card": card, "score": n % 2} for n in range(4) for card in ("old", "new")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = json.loads(promote("new", "--against", "old", "--records", file, "--json").out)
    assert (report["flips"]["prompts"], report["flips"]["btc"]) == (4, 1.0)
    assert report["route_unknown"] == "the prompts are not known"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nwe", "--against", "old", "--on", "data"), 'there is no card "nwe"'),
        (("absent", "--against", "old", "--on", "data"), "data has no outcomes of absent"),
        (("new", "--against", "old"), "give the outcomes: --on SET, or --records"),
        (("new", "--against", "old", "--on", "data", "--records", "x"), "give the outcomes: --on SET, or --records"),
        (("new", "--against", "new", "--on", "data"), "new and new are the same card"),
        (("new", "--against", "old", "--on", "data", "--max-negative-flips", "2x"), "--max-negative-flips: expected"),
        (("new", "--against", "old", "--on", "data", "--write", "cards/old.yaml"), "old.yaml is the card old, not new"),
        (("new", "--against", "old", "--records", "none.jsonl"), "none.jsonl does not exist"),
        (("new", "--against", "old", "--records", "cards"), "no store with records"),
    ],
)
def test_a_usage_error_is_explained_and_ends_with_2(
    promote: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], problem: str
) -> None:
    monkeypatch.chdir(folder)
    ended = promote(*arguments)
    assert problem in ended.err
    assert ended.code == 2


def test_outcomes_may_come_from_the_gateways_records(promote: Run, folder: Path, predictor: Predictor) -> None:
    store = folder / "store"
    journal = Journal.open(store)
    vectors = [np.full(predictor.width, number, dtype="<f4").tobytes() for number in range(2)]
    for name in ("old", "new"):
        for number, vector in enumerate(vectors):
            failed = name == "old" and number == 1
            outcome = Outcome(502, 1.0, error="x", attempts=(Attempt(name, name, 500, 1.0, "server"),))
            journal.append(
                record(
                    outcome=outcome if failed else Outcome(200, 1.0, name, usage=Usage(5, 7), cost_usd=0.1),
                    decision=decision_record(vector=vector, card=name),
                )
            )
    journal.close()
    report = json.loads(promote("new", "--against", "old", "--records", store, "--sample", "0", "--json").out)
    assert (report["flips"]["prompts"], report["flips"]["positive"], report["flips"]["negative"]) == (2, 1, 0)
    assert report["cost_usd"] == {"prompts": 1, "old": 0.1, "new": 0.1}
