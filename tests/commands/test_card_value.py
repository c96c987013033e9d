from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [f'{{"prompt_id": "{number}", "prompt": "question {number}", "domain": "all"}}' for number in range(4)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "scores.csv").write_text("prompt_id,abacus,bard,clerk\n0,1,0,1\n1,1,0,0\n2,0,1,0\n3,0,1,0\n")
    (tmp_path / "cost_usd.csv").write_text(
        "prompt_id,abacus,bard,clerk\n" + "".join(f"{n},.002,.001,.0005\n" for n in range(4))
    )
    return tmp_path


def test_the_tables_name_what_adds_nothing_and_what_to_keep(run: Run, folder: Path) -> None:
    out = run("cards", "value", folder).out
    assert "4 prompts, 3 cards; the best card for every prompt would score 1.000" in out
    assert next(line for line in out.splitlines() if line.startswith("clerk")).rstrip().endswith("adds nothing")
    assert "abacus, bard" in out or "bard, abacus" in out


def test_the_report_is_available_as_json(run: Run, folder: Path) -> None:
    report = json.loads(run("cards", "value", folder, "--budget-usd", "0.001", "--json").out)
    assert report["chosen"][0]["cards"] == ["bard"]
    assert {card["card"] for card in report["cards"]} == {"abacus", "bard", "clerk"}


def test_a_picture_is_written(run: Run, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run("cards", "value", folder, "--out", tmp_path / "value.svg")
    assert "number of cards" in (tmp_path / "value.svg").read_text() or (tmp_path / "value.svg").stat().st_size > 5000


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--only", "abacus,brad"), 'the set has no column "brad"; did you mean "bard"?'),
        (("--out", "value.pdf"), "--out must end in .png or .svg"),
    ],
)
def test_a_mistaken_option_is_explained(run: Run, folder: Path, options: tuple[str, ...], problem: str) -> None:
    assert problem in run("cards", "value", folder, *options).err
