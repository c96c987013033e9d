"""`route feedback import`: judgements of other systems arrive beside the records that they are about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.store.records.journal import Journal
from router.types import Outcome
from tests.commands.conftest import Run
from tests.store.records.examples import record


@pytest.fixture
def store(tmp_path: Path) -> Path:
    journal = Journal.open(tmp_path / "store")
    for number in range(3):
        journal.append(record(f"req-{number}", at=1_795_000_000.0 + number, outcome=Outcome(200, 9.0, "gpt-4o")))
    journal.close()
    return tmp_path / "store"


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    file = tmp_path / "scores.jsonl"
    rows = [{"trace_id": f"req-{number}", "name": "helpful", "value": number % 2} for number in (0, 1, 7)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_judgements_are_stored_once_and_those_of_unknown_requests_counted(run: Run, store: Path, scores: Path) -> None:
    first = run("feedback", "import", str(scores), "--store", str(store))
    assert first.out == ("3 judgements: 2 stored, 0 there before, 1 of requests that are not recorded, 0 refused\n")
    listed = json.loads(run("records", "feedback", "--json", "--store", str(store)).out)
    assert [(each["record"], each["value"], each["source"]) for each in listed] == [
        ("req-0", 0.0, "langfuse"),
        ("req-1", 1.0, "langfuse"),
    ]
    again = json.loads(run("feedback", "import", str(scores), "--store", str(store), "--json").out)
    assert again == {"stored": 0, "known": 2, "unknown": 1, "refused": 0, "problems": []}


def test_a_different_judgement_of_the_same_source_is_refused_and_named(run: Run, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "votes.csv"
    file.write_text("id,value\nreq-0,1\nreq-0,0\n")
    result = run("feedback", "import", str(file), "--store", str(store))
    assert "1 stored, 0 there before, 0 of requests that are not recorded, 1 refused" in result.out
    assert 'votes.csv: req-0: `source` "import" has judged req-0 before, differently' in result.err


def test_nothing_is_stored_where_one_of_the_files_cannot_be_read(run: Run, store: Path, scores: Path) -> None:
    damaged = scores.with_name("damaged.csv")
    damaged.write_text("id,value\nreq-0,7\n")
    result = run("feedback", "import", str(scores), str(damaged), "--store", str(store))
    assert result.code != 0
    assert "damaged.csv:2: value: 7 is not from 0 to 1" in result.err
    assert json.loads(run("records", "feedback", "--json", "--store", str(store)).out) == []


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (("--range", "5"), '--range takes LOW:HIGH, such as 1:5, got "5"'),
        (("--range", "0:inf"), '--range takes LOW:HIGH, such as 1:5, got "0:inf"'),
        (("--range", "5:1"), '--range takes the lower end first, got "5:1"'),
        (
            ("--format", "langfuze"),
            '--format is one of langfuse, tensorzero, plain, not "langfuze"; did you mean "langfuse"',
        ),
        (("--source", "no name"), "Expected `str` matching regex"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(
    run: Run, store: Path, scores: Path, option: tuple[str, str], problem: str
) -> None:
    result = run("feedback", "import", str(scores), *option, "--store", str(store))
    assert problem in result.err
