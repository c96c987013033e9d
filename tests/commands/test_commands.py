from __future__ import annotations

import csv
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commands.conftest import Run


@pytest.fixture
def routing_set(tmp_path: Path) -> Path:
    """A data set of sums, which `abacus` solves, and of verses, which `bard` solves."""
    folder = tmp_path / "sums_and_verses"
    folder.mkdir()
    prompts, scores = [], ["prompt_id,abacus,bard"]
    for number in range(60):
        sums = number % 2 == 0
        text = f"What is {number} + {number * 7}?" if sums else f"Write a verse about the moon, number {number}."
        prompts.append(json.dumps({"prompt_id": str(number), "prompt": text, "domain": "sums" if sums else "verses"}))
        scores.append(f"{number},{int(sums)},{int(not sums)}")
    (folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    (folder / "scores.csv").write_text("\n".join(scores) + "\n")
    return folder


@pytest.mark.parametrize("command", ["route", "pulvinar"])
def test_a_command_without_arguments_prints_the_help(command: str) -> None:
    program = Path(sys.executable).with_name(command)
    ended = subprocess.run([program], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Usage: {command} [OPTIONS] COMMAND [ARGS]...\n")
    assert "doctor" in ended.stderr


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").out.startswith("pulvinar ")


def test_no_color_is_honoured() -> None:
    environment = {**os.environ, "NO_COLOR": "1"}
    ended = subprocess.run(
        [sys.executable, "cli.py", "hello"], check=True, capture_output=True, text=True, env=environment
    )
    assert "\x1b[" not in ended.stdout


def test_a_pipe_that_the_reader_closes_is_no_error() -> None:
    shell = f"{sys.executable} cli.py cards list --json | head -c 10"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_init_copies_cards_and_policies_that_can_be_loaded(run: Run, tmp_path: Path) -> None:
    assert run("init", tmp_path).code == 0
    assert (tmp_path / "model_cards" / "examples").is_dir()
    ended = run("hello", "--cards", tmp_path / "model_cards", "--policies", tmp_path / "policies")
    assert ended.code == 0


def test_init_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    run("init", tmp_path)
    edited = tmp_path / "policies" / "default.yaml"
    edited.write_text("mine")
    ended = run("init", tmp_path)
    assert ended.code == 2
    assert edited.read_text() == "mine"


def test_a_card_is_shown_as_valid_yaml(run: Run, tmp_path: Path) -> None:
    shown = run("cards", "show", "mixtral-8x7b-instruct").out
    (tmp_path / "card.yaml").write_text(shown)
    assert yaml.safe_load(shown)["size"] == {"total": "47B", "active": "13B"}
    assert run("cards", "list", "--cards", tmp_path, "--json").code == 0


def test_an_effort_is_shown_but_not_linted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("id: m\nprovider: openai\nmodel: m\nefforts: {low: {thinking_tokens: 50}}\n")
    shown = yaml.safe_load(run("cards", "show", "m@low", "--cards", str(tmp_path)).out)
    assert (shown["effort_of"], shown["effort"], shown["thinking_tokens"]) == ("m", "low", 50)
    reports = json.loads(run("cards", "lint", "--json", "--cards", str(tmp_path)).out)
    assert [report["card"] for report in reports] == ["m"]


def test_lint_scores_every_card(run: Run) -> None:
    reports = json.loads(run("cards", "lint", "--json").out)
    assert len(reports) == len(json.loads(run("cards", "list", "--json").out))
    assert all(0 < report["completeness"] <= 1 for report in reports)


def test_the_schema_is_json(run: Run) -> None:
    assert "price" in json.loads(run("cards", "schema").out)["properties"]


def test_a_card_is_imported_from_litellms_map(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mini.yaml").write_text(run("cards", "import", "gpt-4o-mini").out)
    listed = json.loads(run("cards", "list", "--cards", tmp_path, "--json").out)
    assert listed[0]["id"] == "gpt-4o-mini"


@pytest.mark.usefixtures("narrow_loaded")
def test_train_score_and_eval_work_on_a_routing_set(run: Run, routing_set: Path, tmp_path: Path) -> None:
    artifact, scores, deviations = tmp_path / "artifact", tmp_path / "scores.csv", tmp_path / "std.csv"
    assert run("train", routing_set, "--out", artifact).code == 0
    prompts = routing_set / "prompts.jsonl"
    run("score", "--artifact", artifact, "--prompts", prompts, "--out", scores, "--std", deviations)
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert list(rows[0]) == ["prompt_id", "abacus", "bard"]
    assert float(rows[0]["abacus"]) > float(rows[0]["bard"])
    assert all(float(row["abacus"]) >= 0 for row in csv.DictReader(deviations.read_text().splitlines()))
    report = json.loads(run("eval", routing_set, "--baseline", "none", "--folds", "2", "--json").out)
    methods = {line["method"]: line for line in report["methods"]}
    assert methods["pulvinar"]["quality"] > methods["random"]["quality"]


@pytest.mark.usefixtures("narrow_loaded")
def test_scores_are_bit_identical_in_every_run(run: Run, routing_set: Path, tmp_path: Path) -> None:
    files = []
    for number in range(2):
        artifact, out = tmp_path / f"artifact{number}", tmp_path / f"{number}.csv"
        run("train", routing_set, "--out", artifact)
        run("score", "--artifact", artifact, "--prompts", routing_set / "prompts.jsonl", "--out", out)
        files.append(out.read_bytes())
    assert files[0] == files[1]


@pytest.mark.usefixtures("narrow_loaded")
def test_training_is_restricted_to_the_listed_ids(run: Run, routing_set: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(str(number) for number in range(40)))
    ended = run("train", routing_set, "--out", tmp_path / "artifact", "--ids", ids, "--json")
    assert json.loads(ended.out)["models"][0]["outcomes"] == 40


def test_an_id_that_no_data_set_has_is_a_caller_error(run: Run, routing_set: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("1\nnowhere\n")
    ended = run("train", routing_set, "--out", tmp_path / "artifact", "--ids", ids)
    assert ended.code == 2
    assert '"nowhere"' in ended.err


@pytest.mark.usefixtures("narrow_loaded")
def test_an_artifact_can_include_its_report(run: Run, routing_set: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    assert run("train", routing_set, "--out", artifact, "--report").code == 0
    (report,) = json.loads((artifact / "report.json").read_text())
    assert (report["protocol"], report["methods"][0]["method"]) == ("5 folds", "pulvinar")
    assert 0.5 < report["methods"][0]["auc"] <= 1.0


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_pareto_plots_the_front(run: Run, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"front{suffix}"
    ended = run("pareto", "Prove that 2 is prime", "--goal", "smallest", "--out", out, "--json")
    points = json.loads(ended.out)["points"]
    assert out.stat().st_size > 1_000
    qualities = [point["quality"] for point in points]
    # A card of unknown size may be the best; it counts as the largest.
    sizes = [math.inf if point["value"] is None else point["value"] for point in points]
    assert qualities == sorted(qualities, reverse=True)
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.usefixtures("narrow_loaded")
def test_pareto_on_a_data_set_reports_measured_quality(run: Run, routing_set: Path, tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    for name, price in (("abacus", 1), ("bard", 5)):
        facts = f"id: {name}\nprovider: openai\nmodel: {name}\nprice: {{input: {price}$, output: {price}$}}\n"
        (cards / f"{name}.yaml").write_text(facts)
    artifact = tmp_path / "artifact"
    run("train", routing_set, "--out", artifact)
    ended = run("pareto", "--data", routing_set, "--cards", cards, "--artifact", artifact, "--json")
    first, *_, last = json.loads(ended.out)["points"]
    assert first["measured_quality"] > last["measured_quality"]
    assert last["cards"] == [["abacus", 1.0]]


def test_a_port_that_is_in_use_is_a_condition_that_may_pass(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("serve", "--port", taken.getsockname()[1])
    assert ended.code == 75
    assert "cannot listen" in ended.err


def test_the_policies_are_listed(run: Run) -> None:
    listed = {policy["id"] for policy in json.loads(run("policies", "list", "--json").out)}
    assert listed == {"best", "cheap", "default", "fast", "private", "prompt-flags", "small"}


def test_the_list_of_policies_says_what_a_wrong_answer_costs(run: Run) -> None:
    rows = {line.split()[0]: line for line in run("policies", "list").out.splitlines() if line.strip()}
    assert " 0.02$ " in rows["cheap"]
    assert "$" not in rows["best"]


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("cards", "model_cards/card.schema.json"),
        ("policies", "policies/policy.schema.json"),
        ("plans", "plans/plan.schema.json"),
    ],
)
def test_the_committed_schema_is_the_one_printed(run: Run, group: str, file: str) -> None:
    assert json.loads(run(group, "schema").out) == json.loads(Path(file).read_text())


def test_a_closed_standard_input_is_a_caller_error() -> None:
    shell = f"{sys.executable} cli.py - <&-"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_terminal_without_unicode_shows_question_marks() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, "cli.py", "hello there"], capture_output=True, env=environment, check=True)
    assert b"?" in ended.stdout


def test_an_internal_error_is_reported_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("router.commands.options.load_cards", fail)
    ended = run("cards", "list")
    assert ended.code == 1
    assert ended.err == "route: internal error: ZeroDivisionError: oops (PULVINAR_DEBUG=1 shows the traceback)\n"


def test_a_path_that_no_system_takes_is_a_configuration_error(run: Run) -> None:
    assert run("hello", "--cards", "x" * 5000).code == 3


def test_score_never_writes_over_its_own_input(run: Run, routing_set: Path, tmp_path: Path) -> None:
    artifact, prompts = tmp_path / "artifact", routing_set / "prompts.jsonl"
    run("train", routing_set, "--out", artifact)
    before = prompts.read_bytes()
    ended = run("score", "--artifact", artifact, "--prompts", prompts, "--out", prompts)
    assert ended.code == 2
    assert prompts.read_bytes() == before


def test_an_unknown_wording_is_named_with_those_that_exist(run: Run, routing_set: Path, tmp_path: Path) -> None:
    ended = run("train", routing_set, "--out", tmp_path / "artifact", "--wordings", "wordy,sten")
    assert ended.code == 2
    assert '--wordings: unknown "sten", expected wordy, stem, names or none; did you mean "stem"?' in ended.err


def test_training_names_the_columns_that_no_card_has(run: Run, routing_set: Path, tmp_path: Path) -> None:
    ended = run("train", routing_set, "--out", tmp_path / "artifact")
    assert "2 of 2 models have no card (by id or alias): abacus, bard" in ended.out


def test_an_imported_card_is_written_only_where_nothing_is(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "mini.yaml"
    assert run("cards", "import", "gpt-4o-mini", "--out", out).code == 0
    assert run("cards", "import", "gpt-4o-mini", "--out", out).code == 2
    assert not (tmp_path / "none.yaml").exists()
    assert run("cards", "import", "gpt-4o-minii", "--out", tmp_path / "none.yaml").code == 2
    assert not (tmp_path / "none.yaml").exists()


def test_dollar_signs_in_a_prompt_are_no_mathematics_in_its_plot(run: Run, tmp_path: Path) -> None:
    assert run("pareto", r"$\frac{$ costs $5", "--goal", "smallest", "--out", tmp_path / "front.svg").code == 0


def test_one_word_that_is_nearly_a_command_is_asked_about(run: Run) -> None:
    ended = run("servee")
    assert ended.code == 2
    assert 'did you mean "serve"?' in ended.err


def test_the_plans_are_listed_with_their_kinds(run: Run) -> None:
    rows = {line.split()[0]: line for line in run("plans", "list").out.splitlines() if line.strip()}
    assert " cascade " in rows["cheap-first"]
    assert {plan["id"] for plan in json.loads(run("plans", "list", "--json").out)} <= set(rows)


def test_a_plan_is_shown_and_checked(run: Run) -> None:
    assert json.loads(run("plans", "show", "cheap-first").out)["kind"] == "cascade"
    assert "plans are valid" in run("plans", "lint").out
    assert 'there is no plan "cheap-frst"; did you mean "cheap-first"?' in run("plans", "show", "cheap-frst").err


def test_a_decision_shows_the_tree_of_a_plan_and_why_others_are_rejected(run: Run) -> None:
    shown = run("What is 17 × 23?", "--all", "--plans", "cheap-first,describe-image", "-f", "plan!=single", "--explain")
    assert "plan/cheap-first (cascade): quality" in shown.out
    assert "└─ member" in shown.out
    assert "the request contains no image, which the first stage consumes" in shown.out
    document = json.loads(
        run("What is 17 × 23?", "--all", "--plans", "cheap-first", "-f", "plan!=single", "--json").out
    )
    assert document["plan"]["id"] == "plan/cheap-first"
    assert len(document["plans"]["plan/cheap-first"]["steps"]) == 2


def test_a_plan_that_does_not_exist_is_refused(run: Run) -> None:
    assert 'there is no plan "cheap-frst"; did you mean "cheap-first"?' in run("hello", "--plans", "cheap-frst").err
