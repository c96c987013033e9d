"""`route cards fit-latency`: the factors are written where forecasts find them, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router import Router
from router.store.records.journal import Journal
from router.store.records.record import Record
from router.types import Attempt, Outcome, Usage
from tests.commands.conftest import Run

CARD = "id: small\nprovider: hosted_vllm\nmodel: small\nbase_url: http://127.0.0.1:9/v1\nsize: 8B\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PULVINAR_EVIDENCE", str(tmp_path / "evidence"))
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "small.yaml").write_text(CARD)
    journal = Journal.open(tmp_path / "store")
    for number in range(50):
        attempt = Attempt("small", "small", 200, 1.0)
        times = {"ttft_ms": 40.0, "total_ms": 40.0 + 99 * 9.6, "overhead_ms": 1.0}
        outcome = Outcome(200, card="small", attempts=(attempt,), usage=Usage(500, 100), **times)
        journal.append(Record(f"r{number}", float(number), "chat", "auto", True, outcome))
    journal.close()
    return tmp_path


def test_the_fit_reaches_forecasts_and_is_shown(place: Path, run: Run) -> None:
    common = ("--cards", place / "cards")
    ended = run("cards", "fit-latency", *common, "--store", place / "store")
    assert ended.code == 0, ended.err
    assert ended.out.endswith(f"{place / 'evidence' / 'latency.json'}: 1 card\n")
    shown = run("cards", "show", "small", *common).out
    assert shown.splitlines()[-1].startswith("# latency: roofline x 2.")
    assert shown.endswith("from 50 requests\n")
    assert Router.default(cards=place / "cards").catalog.speeds["small"].requests == 50
    assert "latency: roofline x 2." in run("What is 2 plus 2?", "--policy", "best", "--explain", *common).out


def test_a_dry_run_writes_nothing(place: Path, run: Run) -> None:
    options = ("--cards", place / "cards", "--store", place / "store", "--dry-run")
    assert run("cards", "fit-latency", *options).out.endswith("nothing written (--dry-run)\n")
    document = json.loads(run("cards", "fit-latency", *options, "--json").out)
    assert document["written"] is None
    assert document["fits"][0]["speed"]["requests"] == 50
    assert not (place / "evidence").exists()
