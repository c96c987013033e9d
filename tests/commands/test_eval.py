from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import Run

SHORT = ("--baseline", "none", "--draws", "20", "--folds", "2")
pytestmark = pytest.mark.usefixtures("narrow_loaded")


@pytest.fixture
def sums_and_verses(tmp_path: Path) -> Path:
    """Sums, which `abacus` gets right, and verses, which `bard` gets right; lengths; `clerk` is right on a third."""
    folder = tmp_path / "sums_and_verses"
    folder.mkdir()
    prompts, scores, lengths = [], ["prompt_id,abacus,bard,clerk"], ["prompt_id,abacus,bard,clerk"]
    for number in range(60):
        sums = number % 2 == 0
        text = f"What is {number} + {number * 7}?" if sums else f"Write a verse about the moon, number {number}."
        prompts.append(json.dumps({"prompt_id": str(number), "prompt": text, "domain": "sums" if sums else "verses"}))
        scores.append(f"{number},{int(sums)},{int(not sums)},{int(number % 3 == 0)}")
        lengths.append(f"{number},20,200,40")
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")
    (folder / "output_tokens.csv").write_text("\n".join(lengths) + "\n")
    return folder


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    file = tmp_path / "prices.json"
    file.write_text(
        json.dumps(
            {
                "abacus": {"usd_per_m_input": 0.1, "usd_per_m_output": 0.4},
                "clerk": {"usd_per_m_input": 3, "usd_per_m_output": 15},
            }
        )
    )
    return file


def test_the_table_shows_the_verdicts_and_the_skipped_methods(run: Run, sums_and_verses: Path) -> None:
    out = run("eval", sums_and_verses, *SHORT).out
    assert "sums_and_verses: 60 prompts, 3 models, 2 folds" in out
    assert "quality: better than best single, in hindsight" in out
    assert "not run: " in out
    assert "gradient boosting (--baselines all)" in out


def test_the_narrow_table_fits_a_hundred_columns(run: Run, sums_and_verses: Path, prices: Path) -> None:
    out = run("eval", sums_and_verses, *SHORT, "--prices", prices, "--pair", "abacus,clerk").out
    lines = out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("method"))
    table = lines[start : next(number for number, line in enumerate(lines) if line.startswith("costs: "))]
    assert {"AUC", "AIQ", "APGR"} <= set(table[0].split())
    assert max(len(line.rstrip()) for line in table) <= 100


def test_the_wide_table_shows_every_figure(run: Run, sums_and_verses: Path, prices: Path) -> None:
    narrow, wide = (run("eval", sums_and_verses, *SHORT, "--prices", prices, *more).out for more in ((), ("--wide",)))
    for head in ("Brier", "strict", "regret", "cost@100"):
        assert head in wide
        assert head not in narrow


def test_the_page_is_written_beside_the_table(run: Run, sums_and_verses: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ended = run("eval", sums_and_verses, *SHORT, "--html", page)
    assert f"{page}: report with plots" in ended.out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_table_is_printed_although_the_page_cannot_be_written(
    run: Run, sums_and_verses: Path, tmp_path: Path
) -> None:
    ended = run("eval", sums_and_verses, *SHORT, "--html", tmp_path / "missing" / "report.html")
    assert ended.code != 0
    assert "pulvinar" in ended.out


def test_json_stays_json_when_a_page_is_written_too(run: Run, sums_and_verses: Path, tmp_path: Path) -> None:
    report = json.loads(run("eval", sums_and_verses, *SHORT, "--json", "--html", tmp_path / "report.html").out)
    assert report["version"] == 1
    assert report["methods"][0]["method"] == "pulvinar"
    assert report["methods"][0]["intervals"]["auc"]


def test_one_model_is_left_out_at_a_time(run: Run, sums_and_verses: Path) -> None:
    out = run("eval", sums_and_verses, *SHORT, "--by", "model").out
    assert "leave one model out" in out
    assert "share of the gain" in out


def test_the_detection_of_unknown_prompts_is_reported(run: Run, sums_and_verses: Path, tmp_path: Path) -> None:
    file = tmp_path / "others.jsonl"
    file.write_text("".join(f'{{"prompt_id": {n}, "prompt": "Translate line {n} to Latin"}}\n' for n in range(12)))
    out = run("eval", sums_and_verses, *SHORT, "--unknown", file).out
    assert "FPR@95" in out
    assert "Mahalanobis" in out


def test_another_set_is_forecast(run: Run, sums_and_verses: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rows = [json.dumps({"prompt_id": n, "prompt": f"How much is {n} times {n}?", "domain": "sums"}) for n in range(8)]
    (other / "prompts.jsonl").write_text("\n".join(rows) + "\n")
    (other / "scores.csv").write_text("prompt_id,bard,abacus\n" + "".join(f"{n},0,1\n" for n in range(8)))
    out = run("eval", sums_and_verses, *SHORT, "--test", other).out
    assert "8 prompts, 2 models, trained on sums_and_verses, tested on other (2 shared models)" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--pair", "bard"), '--pair takes two models, "strong,weak", got "bard"'),
        (("--pair", "bard,abcus"), 'did you mean "abacus"'),
        (("--baselines", "some"), "--baselines takes none, quick or all"),
        (("--draws", "-5"), "'--draws'"),
        (("--random-state", "-1"), "'--random-state'"),
        (("--by", "moon"), '--by takes "domain" or "model"'),
    ],
)
def test_an_invalid_option_is_a_caller_error(
    run: Run, sums_and_verses: Path, arguments: tuple[str, ...], problem: str
) -> None:
    ended = run("eval", sums_and_verses, *SHORT, *arguments)
    assert ended.code == 2
    assert problem in ended.err
