from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.learn.onboarding import load_probes
from router.perceive.ability.evidence import load_evidence
from router.settings import default_evidence_folder, shipped_probes_folder
from tests.commands.conftest import Run
from tests.gateway.servers import wait_for
from tests.learn.onboarding.examinee import Examinee, examinee, knowing

ROOT = Path(__file__).parent.parent.parent
CARD = "vendor/mini"
FILE = "vendor%2Fmini.jsonl"


@pytest.fixture
def model() -> Iterator[Examinee]:
    with examinee(replies=knowing(load_probes(shipped_probes_folder()).probes)) as server:
        yield server


@pytest.fixture
def here(model: Examinee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a catalogue of one card, whose endpoint is the examinee."""
    folder = tmp_path / "model_cards"
    folder.mkdir()
    (folder / "mini.yaml").write_text(
        f"id: {CARD}\naliases: [mini]\nprovider: openai\nmodel: mini-1\nbase_url: {model.url}/v1\n"
        "price: {input: 0.2$, output: 0.8$}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PULVINAR_EVIDENCE", raising=False)
    monkeypatch.delenv("PULVINAR_CARDS", raising=False)
    return tmp_path


def test_a_card_is_onboarded_and_the_change_is_shown(run: Run, model: Examinee, here: Path) -> None:
    ended = run("onboard", "mini", "--probes", "8", "--max-usd", "0.1")
    assert ended.code == 0
    assert "8 probes of pulvinar-probes answered, 8 of them now" in ended.out
    assert "expected before" in ended.out
    assert ended.err.splitlines()[-1].startswith("8 of 8 answered, 8 right")
    assert len(model.asked) == len(load_evidence(here / "evidence")[CARD]) == 8


def test_the_result_is_printed_as_json_on_request(run: Run, here: Path) -> None:
    report = json.loads(run("onboard", CARD, "--probes", "7", "--json").out)
    assert (report["card"], report["answered"], report["stopped"]) == (CARD, 7, "done")
    assert report["overall"]["after"] > report["overall"]["before"]
    assert {change["domain"] for change in report["domains"]} >= {"arithmetic", "code"}
    assert report["evidence"] == str(here / "evidence" / FILE)


def test_a_dry_run_needs_no_key(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINI_KEY", raising=False)
    file = here / "model_cards" / "mini.yaml"
    file.write_text(file.read_text() + "api_key_env: MINI_KEY\n")
    assert "MINI_KEY is not set" in run("onboard", CARD).err
    assert run("onboard", CARD, "--dry-run").code == 0


def test_a_dry_run_calls_nothing_and_writes_nothing(run: Run, model: Examinee, here: Path) -> None:
    shown = run("onboard", CARD, "--probes", "5", "--dry-run").out
    assert "would be asked 5 probes; cost: at most 0.0" in shown
    planned = json.loads(run("onboard", CARD, "--probes", "5", "--dry-run", "--json").out)
    assert len(planned["probes"]) == 5
    assert planned["worst_usd"] == pytest.approx(sum(probe["worst_usd"] for probe in planned["probes"]))
    assert model.asked == []
    assert not (here / "evidence").exists()
    run("onboard", CARD, "--probes", "5")
    # Later probes depend on the answers.
    assert load_evidence(here / "evidence")[CARD][0].probe == planned["probes"][0]["probe"]


@pytest.mark.usefixtures("here")
def test_a_budget_stops_the_run_and_the_result_states_it(run: Run) -> None:
    ended = run("onboard", CARD, "--max-usd", "0.002")
    assert ended.code == 0
    assert "Stopped at --max-usd" in ended.out


def test_a_killed_run_can_be_continued_and_asks_nothing_twice(run: Run, model: Examinee, here: Path) -> None:
    model.delay_s = 0.1
    command = [sys.executable, str(ROOT / "cli.py"), "onboard", CARD, "--probes", "24"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    file = here / "evidence" / FILE
    try:
        assert wait_for(lambda: file.exists() and file.read_bytes().count(b"\n") >= 6, 60)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    stored = load_evidence(here / "evidence")[CARD]
    assert 6 <= len(stored) < 24
    model.delay_s = 0.0
    report = json.loads(run("onboard", CARD, "--probes", "24", "--json").out)
    assert (report["answered"], report["answered_now"]) == (24, 24 - len(stored))
    assert len(model.asked) == len(set(model.asked)) <= 24 + report["lost"]
    assert load_evidence(here / "evidence")[CARD][: len(stored)] == stored


def test_a_truncated_line_is_removed_and_its_probe_asked_again(run: Run, here: Path) -> None:
    run("onboard", CARD, "--probes", "5")
    file = here / "evidence" / FILE
    file.write_bytes(file.read_bytes()[:-20])
    ended = run("onboard", CARD, "--probes", "5", "--json")
    assert "removed an incomplete last line" in ended.err
    assert json.loads(ended.out)["answered_now"] == 1
    assert len(load_evidence(here / "evidence")[CARD]) == 5


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(run: Run, here: Path) -> None:
    run("onboard", CARD, "--probes", "5")
    file = here / "evidence" / FILE
    lines = file.read_bytes().split(b"\n")
    lines[2] = b"?"
    file.write_bytes(b"\n".join(lines))
    ended = run("onboard", CARD, "--probes", "5")
    assert ended.code == 3
    assert f"{file}:3: is damaged" in ended.err


def test_starting_over_asks_for_confirmation_and_archives_the_old_answers(
    run: Run, model: Examinee, here: Path
) -> None:
    run("onboard", CARD, "--probes", "5")
    ended = run("onboard", CARD, "--probes", "5", "--reset")
    assert ended.code == 2
    assert "add --yes" in ended.err
    assert len(load_evidence(here / "evidence")[CARD]) == 5
    report = json.loads(run("onboard", CARD, "--probes", "5", "--reset", "--yes", "--json").out)
    assert report["answered_now"] == 5
    assert len(model.asked) == 10
    assert (here / "evidence" / f"{FILE}.old").read_bytes().count(b"\n") == 5


def test_probes_are_read_from_a_users_set(run: Run, model: Examinee, here: Path) -> None:
    folder = here / "mine"
    folder.mkdir()
    rows = [{"prompt_id": str(n), "prompt": f"What is {n} + {n}?", "answer": 2 * n} for n in range(4)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model.replies = lambda prompt: f"Answer: {2 * int(prompt.split()[2])}"
    report = json.loads(run("onboard", CARD, "--from", folder, "--json").out)
    assert (report["probe_set"], report["answered"], report["stopped"]) == ("mine", 4, "all asked")
    assert report["overall"]["score"] == 1.0


def test_a_failing_endpoint_ends_the_run_with_a_one_line_error(run: Run, model: Examinee, here: Path) -> None:
    model.statuses = [403]
    ended = run("onboard", CARD)
    assert ended.code == 4
    assert ended.err.splitlines()[-1].startswith('route: the upstream of the card "vendor/mini" answered HTTP 403')
    assert not (here / "evidence" / FILE).exists()


@pytest.mark.usefixtures("here")
def test_an_unknown_card_is_a_caller_error(run: Run) -> None:
    ended = run("onboard", "vendor/mimi")
    assert ended.code == 2
    assert 'did you mean "vendor/mini"?' in ended.err


def test_the_evidence_folder_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PULVINAR_EVIDENCE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_evidence_folder() == tmp_path / "data" / "pulvinar" / "evidence"
    (tmp_path / "model_cards").mkdir()
    assert default_evidence_folder() == tmp_path / "evidence"
    (tmp_path / "model_cards").rmdir()
    (tmp_path / "evidence").mkdir()
    assert default_evidence_folder() == tmp_path / "evidence"
    monkeypatch.setenv("PULVINAR_EVIDENCE", str(tmp_path / "elsewhere"))
    assert default_evidence_folder() == tmp_path / "elsewhere"


@pytest.mark.usefixtures("here")
def test_before_it_spends_it_says_what_the_probes_can_change(run: Run) -> None:
    first = run("onboard", CARD, "--probes", "7").err.splitlines()[0]
    assert first.startswith(f"7 probes, from 7 of 7 domains: the 80 % interval of {CARD}'s quality over the set, ")
    assert first.endswith("The answers change forecasts on prompts like the probes, others little.")
    planned = json.loads(run("onboard", CARD, "--probes", "14", "--dry-run", "--json").out)
    assert len(planned["probes"]) == 7
    assert planned["outlook"]["std_after"] < planned["outlook"]["std"]
    assert planned["outlook"]["domains"] == planned["outlook"]["all_domains"] == 7


@pytest.mark.usefixtures("here")
def test_nothing_is_announced_where_nothing_is_left_to_ask(run: Run) -> None:
    run("onboard", CARD, "--probes", "5")
    assert "domains" not in run("onboard", CARD, "--probes", "5").err


@pytest.mark.usefixtures("here")
def test_a_run_without_any_right_answer_warns_with_the_likely_cause(run: Run, model: Examinee) -> None:
    model.replies = lambda prompt: f"Answer: I can say nothing about {prompt[:60]!r}"
    assert (
        "warning: None of 7 answers is right: check the card's model name" in run("onboard", CARD, "--probes", "7").out
    )
