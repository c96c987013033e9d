from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from router import Router
from router.commands.history.savings import read_since
from router.commands.render import all_tokens
from router.errors import CallerError
from router.store.records.journal import FOLDER_NAME, Journal
from router.store.records.record import Entry, write_entry
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.store.records.sqlite import FILE_NAME
from router.types import Attempt, CallOutcome, Outcome, Usage
from router.wire.chat.request import ChatRequest
from tests.commands.conftest import Run
from tests.store.records.examples import TODAY, record

PROMPTS = ("What is 17*23?", "Write a haiku about rain.", "Prove that there are infinitely many primes.")
AT = 1_795_000_000.0
FAILED = Outcome(502, 30.0, attempts=(Attempt("gpt-4o", "gpt-4o", None, 30.0, "refused"),), error="upstream_error")


@pytest.fixture(scope="module")
def router() -> Router:
    return Router.default()


@pytest.fixture
def store(tmp_path: Path, router: Router) -> Path:
    """Three routed requests, one that named its card, and a failed one, from oldest to newest."""
    journal = Journal.open(tmp_path / "store")
    snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), journal.keep)
    for number, prompt in enumerate(PROMPTS):
        routed = router.route(ChatRequest.from_prompt(prompt), flags="cheapest*0.2", today=TODAY)
        outcome = Outcome(200, 900.0 + number, "gpt-4o", usage=Usage(100, 200), cost_usd=0.00225, ttft_ms=210.0)
        decision = snapshots.decision_record(routed)
        journal.append(
            record(f"req-{number}", at=AT + number, outcome=outcome, decision=decision, key=f"k{number % 2}")
        )
    named = Outcome(200, 400.0, "gpt-4o-mini", usage=Usage(5, 6), cost_usd=0.0001)
    journal.append(record("by-name", at=AT + 3, asked="gpt-4o-mini", outcome=named, prompt=b'{"model": "gpt-4o-mini"}'))
    journal.append(record("failed", at=AT + 4, outcome=FAILED))
    journal.close()
    return tmp_path / "store"


def ids(lines: str) -> list[str]:
    return [json.loads(line)["id"] for line in lines.splitlines()]


@pytest.mark.parametrize("command", [("tail",), ("show", "x"), ("replay", "--last", "3")])
def test_an_empty_store_is_reported_in_one_line(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run("records", *command, "--store", tmp_path)
    assert result.err == f"no records in {tmp_path} yet: `route serve` writes them\n"
    assert result.code == (0 if command == ("tail",) else 2)
    assert list(tmp_path.iterdir()) == []


def test_savings_report_an_empty_store_in_one_line(run: Run, tmp_path: Path) -> None:
    result = run("savings", "--store", tmp_path)
    assert (result.code, result.err) == (0, f"no records in {tmp_path} yet: `route serve` writes them\n")


def test_the_default_store_is_set_by_an_environment_variable(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULVINAR_STORE", str(store))
    assert "by-name" in run("records", "tail").out


def test_the_store_may_be_a_url(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "by-name" in run("records", "tail", "--store", f"sqlite:///{store}").out
    monkeypatch.setenv("PULVINAR_STORE", "mysql://localhost/pulvinar")
    result = run("records", "tail")
    message = 'route: cannot open the store "mysql://localhost/pulvinar": unknown scheme "mysql"; '
    assert (result.code, result.err) == (3, message + "use a folder or sqlite:///folder\n")


def test_the_tail_is_a_table_with_the_newest_last(run: Run, store: Path) -> None:
    head, *rows = run("records", "tail", "--store", store).out.splitlines()
    assert head.split() == [
        "time",
        "(UTC)",
        "id",
        "card",
        "policy",
        "status",
        "tokens",
        "cost",
        "time",
        "calls",
        "error",
    ]
    assert [row.split()[2] for row in rows] == ["req-0", "req-1", "req-2", "by-name", "failed"]
    assert rows[0].split() == [
        "2026-11-18",
        "11:06:40",
        "req-0",
        "gpt-4o",
        "default",
        "200",
        "100+200",
        "0.00225$",
        "900ms",
        "0",
    ]
    assert rows[-1].split()[3:] == ["-", "-", "502", "?", "?", "30ms", "1", "upstream_error"]


def test_the_tail_can_be_filtered(run: Run, store: Path) -> None:
    tail = ("records", "tail", "--store", store, "--json")
    assert ids(run(*tail, "-n", "2").out) == ["by-name", "failed"]
    assert ids(run(*tail, "--card", "gpt-4o-mini").out) == ["by-name"]
    assert ids(run(*tail, "--key", "k1").out) == ["req-1"]
    assert ids(run(*tail, "--errors").out) == ["failed"]


def test_records_left_by_a_killed_gateway_are_listed(run: Run, store: Path) -> None:
    (store / FOLDER_NAME / "1-dead.jsonl").write_bytes(write_entry(Entry(record=record("left", at=AT + 9))))
    assert ids(run("records", "tail", "--store", store, "--json", "-n", "1").out) == ["left"]


# SIGINT is ignored in a child of a background job (`nohup make test &`), which then could not be interrupted.
ROUTE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from router.commands import main
main()
"""


@contextmanager
def tailing(store: Path, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """Run `route records tail` in a child, which is killed at the end or after half a minute: no test may hang."""
    command = [sys.executable, "-c", ROUTE, "records", "tail", "--store", str(store), *arguments]
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    limit = threading.Timer(30, process.kill)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and the errors of a process that is about to end."""
    process.wait(10)
    assert process.stderr is not None
    return process.returncode, process.stderr.read()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_following_prints_new_records_until_it_is_interrupted(store: Path, stop: signal.Signals) -> None:
    with tailing(store, "--follow", "--json", "-n", "1") as process:
        assert ids(next_line(process)) == ["failed"]
        journal = Journal.open(store, interval_s=0.01)
        for name in ("new-1", "new-2"):
            journal.append(record(name, at=time.time()))
            assert ids(next_line(process)) == [name]
        journal.close()
        process.send_signal(stop)
        assert ended(process) == (0, "")


def test_following_waits_for_the_first_record(tmp_path: Path) -> None:
    store = tmp_path / "new"
    with tailing(store, "--follow", "--json") as process:
        assert process.stderr is not None
        assert "no records in" in process.stderr.readline()
        journal = Journal.open(store, interval_s=0.01)
        journal.append(record("first", at=time.time()))
        assert ids(next_line(process)) == ["first"]
        journal.close()
        process.send_signal(signal.SIGINT)
        assert ended(process) == (0, "")


def test_following_ends_when_the_reader_of_its_output_exits(store: Path) -> None:
    with tailing(store, "--follow", "--json") as process:
        next_line(process)
        assert process.stdout is not None
        process.stdout.close()
        # No new record is written, so the process must notice it without printing.
        following = ended(process)
    reader, writer = os.pipe()
    os.close(reader)
    with tailing(store, "--json", stdout=writer) as process:
        os.close(writer)
        assert following == ended(process)


def test_following_as_a_table_keeps_its_columns(store: Path) -> None:
    with tailing(store, "--follow") as process:
        lines = [next_line(process) for _ in range(6)]
    assert {line.find("gpt-4o") for line in lines if "gpt-4o" in line} == {lines[0].index("card")}


def test_a_record_is_shown_by_the_beginning_of_its_id(run: Run, store: Path) -> None:
    out = run("records", "show", "req-2", "--store", store).out
    assert out.splitlines()[0] == "req-2  2026-11-18 11:06:42 UTC"
    for line in (
        "requested  auto (chat, key k0)",
        "answered   200 by gpt-4o",
        "time       902ms total, first token 210ms, gateway 0ms",
        "tokens     100 in, 200 out",
        "cost       0.00225$ (2.25$ per 1,000 requests)",
        "flags      cheapest*0.2",
    ):
        assert line in out.splitlines()
    assert run("records", "show", "by", "--store", store).out.startswith("by-name")


@pytest.mark.parametrize(
    ("usage", "shown"),
    [
        (Usage(100, 200, 60), "100 in (60 cached), 200 out"),
        (
            Usage(100, 200, 60, 30, 150, service_tier="flex"),
            "100 in (60 cached, 30 written to the cache), 200 out (150 reasoning), tier flex",
        ),
        (Usage(100, 200, estimated=True), "100 in, 200 out, estimated: the upstream did not report all of them"),
    ],
    ids=["cached", "all", "estimated"],
)
def test_the_parts_of_the_tokens_are_shown(usage: Usage, shown: str) -> None:
    assert all_tokens(usage) == shown


def test_a_failed_record_shows_its_calls(run: Run, store: Path) -> None:
    out = run("records", "show", "failed", "--store", store).out
    assert "answered   502, upstream_error" in out
    assert out.splitlines()[-1].split() == ["1", "gpt-4o", "gpt-4o", "-", "30ms", "refused"]


def test_the_calls_of_a_plan_are_shown(run: Run, tmp_path: Path) -> None:
    calls = (
        CallOutcome("gpt-4o-mini", "draft", "rejected", Usage(10, 3), 0.0001, 0.25, "gate", 1.0, 20.0),
        CallOutcome("gpt-4o", "answer", "shown", Usage(11, 5), 0.01, began_ms=21.0, elapsed_ms=400.0),
    )
    outcome = Outcome(
        200, 421.0, "gpt-4o", usage=Usage(21, 8), cost_usd=0.0101, plan="plan/cheap-first", degraded="usd", calls=calls
    )
    journal = Journal.open(tmp_path / "plans")
    journal.append(record("planned", at=AT, outcome=outcome))
    journal.close()
    lines = run("records", "show", "planned", "--store", tmp_path / "plans").out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("plan/cheap-first"))
    draft, answer = (line.split() for line in lines[head + 1 :] if line.strip())
    assert (draft[:2], draft[-3:]) == (["draft", "gpt-4o-mini"], ["0.25", "rejected:", "gate"])
    assert "10 + 3" in lines[head + 1]
    assert (answer[:2], answer[-1]) == (["answer", "gpt-4o"], "shown")


def test_the_json_of_a_record_is_complete(run: Run, store: Path, router: Router) -> None:
    document = json.loads(run("records", "show", "by-name", "--store", store, "--json").out)
    assert base64.b64decode(document["prompt"]) == b'{"model": "gpt-4o-mini"}'
    routed = json.loads(run("records", "show", "req-0", "--store", store, "--json").out)
    assert len(base64.b64decode(routed["decision"]["vector"])) == router.predictor.width * 4


def test_an_unknown_or_ambiguous_id_is_a_caller_error(run: Run, store: Path) -> None:
    unknown, ambiguous = (run("records", "show", name, "--store", store) for name in ("unknown", "req"))
    assert (unknown.code, ambiguous.code) == (2, 2)
    assert 'there is no record "unknown"' in unknown.err
    assert '"req" is ambiguous: several record ids begin with it, such as req-0 and req-1' in ambiguous.err


def test_a_decision_is_replayed_and_shown(run: Run, store: Path) -> None:
    result = run("records", "replay", "req-1", "--store", store)
    assert result.code == 0
    assert result.out.startswith("req-1  2026-11-18 11:06:41 UTC  same decision\n")
    chosen = json.loads(run("records", "show", "req-1", "--store", store, "--json").out)["decision"]["card"]
    assert f"\n{chosen}  quality" in result.out
    assert "+cheapest" in run("records", "replay", "req-1", "--store", store, "--explain").out


def test_the_newest_decisions_are_replayed_together(run: Run, store: Path) -> None:
    result = run("records", "replay", "--last", "9", "--store", store)
    assert "3 of 3 decisions are the same" in result.out
    document = json.loads(run("records", "replay", "--last", "2", "--store", store, "--json").out)
    assert [(replay["id"], replay["same"]) for replay in document] == [("req-1", True), ("req-2", True)]


def test_an_edited_card_does_not_change_a_replay_and_is_named_with_now(run: Run, store: Path, tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    chosen = json.loads(run("records", "show", "req-1", "--store", store, "--json").out)["decision"]["card"]
    for file in Path("model_cards").glob("*.yaml"):
        (cards / file.name).write_bytes(file.read_bytes())
    card = cards / f"{chosen}.yaml"
    card.write_text(yaml.safe_dump({**yaml.safe_load(card.read_text()), "tags": ["edited"]}))
    replay = ("records", "replay", "req-1", "--store", store, "--cards", cards)
    assert run(*replay).out.startswith("req-1  2026-11-18 11:06:41 UTC  same decision")
    assert f"• card edited: {chosen}" in run(*replay, "--now").out


def test_a_replay_that_differs_exits_with_code_1(run: Run, store: Path) -> None:
    database = sqlite3.connect(store / FILE_NAME)
    change = "UPDATE records SET record = json_set(record, '$.decision.card', 'gpt-9') WHERE id = 'req-1'"
    database.execute(change)
    database.commit()
    database.close()
    result = run("records", "replay", "req-1", "--store", store)
    assert result.code == 1
    assert "different decision" in result.out
    assert "gpt-9" in result.out
    assert "• the inputs are unchanged but the decision differs; please report this bug" in result.out
    (replay,) = json.loads(run("records", "replay", "req-1", "--store", store, "--json").out)
    assert (replay["same"], replay["reasons"], replay["problem"]) == (False, [], "")
    assert replay["differences"] == [{"what": "card", "then": "gpt-9", "again": replay["card"]}]


def test_a_record_without_a_decision_cannot_be_replayed(run: Run, store: Path) -> None:
    result = run("records", "replay", "by-name", "--store", store)
    assert result.code == 2
    assert "by-name has no decision to replay" in result.err


def test_replay_takes_an_id_or_a_number(run: Run, store: Path) -> None:
    for arguments in ((), ("req-1", "--last", "2")):
        result = run("records", "replay", *arguments, "--store", store)
        assert (result.code, "name either a record or --last N" in result.err) == (2, True)


def test_a_damaged_database_is_a_clear_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 100)
    result = run("records", "tail", "--store", tmp_path)
    assert result.code == 3
    assert f"{tmp_path / FILE_NAME}: is damaged or not a database" in result.err


def test_savings_compare_with_the_best_single_model(run: Run, store: Path) -> None:
    result = run("savings", "--store", store)
    assert result.code == 0
    first, second = result.out.splitlines()[:2]
    assert first == "5 requests, 0.00685$ spent"
    assert re.fullmatch(r"3 routed requests compared, against always \S+, the best single model:", second)
    assert "(best single model)" in result.out
    assert re.search(r"as routed +0.00675\$ +0.00225\$ +2.25\$", result.out)
    assert "• left out: 1 request: no complete answer" in result.out
    assert "• left out: 1 request: not routed: the client named the card" in result.out


def test_savings_against_the_card_that_answered_are_zero(run: Run, store: Path) -> None:
    document = json.loads(run("savings", "--store", store, "--against", "gpt-4o", "--json").out)
    total = document["total"]
    assert (document["best"], document["unfit"], len(document["thrifty"])) == (False, 0, 2)
    assert total["routed"]["cost_usd"] == pytest.approx(0.00675)
    assert total["single"]["cost_usd"] == pytest.approx(3 * (100 * 2.5 + 200 * 10) / 1e6)
    assert total["routed"]["quality"] == pytest.approx(total["single"]["quality"])


def test_savings_name_the_card_that_they_compare_with(run: Run, store: Path) -> None:
    shown = run("savings", "--store", store, "--against", "claude-haiku-4-5").out
    assert "3 routed requests compared, against always claude-haiku-4-5:\n" in shown
    assert re.search(r"saved \(\S+\) against always claude-haiku-4-5, with|more spent \(", shown)


def test_savings_against_an_unknown_card_are_an_error_that_names_a_similar_one(run: Run, store: Path) -> None:
    result = run("savings", "--store", store, "--against", "gpt-4p")
    assert result.code == 2
    assert 'there is no card "gpt-4p"; did you mean "gpt-4o"?' in result.err


def test_requests_for_auto_cannot_be_compared_with_what_the_client_asked_for(run: Run, store: Path) -> None:
    shown = run("savings", "--store", store, "--against", "client").out
    assert "none of them can be compared:" in shown
    reason = "the client asked for auto, so there is no model to compare with"
    assert f"• left out: 3 requests: {reason}" in shown


def test_savings_can_be_grouped_and_limited_in_time(run: Run, store: Path) -> None:
    document = json.loads(run("savings", "--store", store, "--by", "key", "--json").out)
    assert [(line["group"], line["requests"]) for line in document["groups"]] == [("k0", 2), ("k1", 1)]
    assert "k1" in run("savings", "--store", store, "--by", "key").out
    later = json.loads(run("savings", "--store", store, "--since", "2026-11-19", "--json").out)
    assert (later["requests"], later["total"]) == (0, None)


def test_since_is_an_age_or_a_date() -> None:
    assert read_since("2026-11-18") == 1_794_960_000.0
    assert read_since("2026-11") == 1_793_491_200.0
    assert abs(read_since("7d") - (time.time() - 7 * 86_400)) < 60
    for nonsense in ("yesterday", "7", "", "-3d", "9999999999999y"):
        with pytest.raises(CallerError, match="--since takes an age such as 7d"):
            read_since(nonsense)


def test_feedback_is_given_listed_and_shown_with_its_record(run: Run, store: Path) -> None:
    given = run("records", "feedback", "req-1", "--verdict", "bad", "--comment", "wrong sum", "--store", str(store))
    assert given.code == 0
    listed = json.loads(run("records", "feedback", "--json", "--store", str(store)).out)
    assert [(each["record"], each["value"], each["source"]) for each in listed] == [("req-1", 0.0, "operator")]
    shown = run("records", "show", "req-1", "--store", str(store)).out
    assert re.search(r"feedback +0 \(bad\) by operator, .*: wrong sum", shown)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("req-1", "--verdict", "god"), 'did you mean "good"'),
        (("req-1", "--verdict", "good", "--value", "1"), "only one of both"),
        (("--value", "1"), "name the record"),
        (("req-1", "--comment", "why"), "needs --value or --verdict"),
        (("failed", "--value", "1"), "no model answered"),
    ],
)
def test_feedback_that_cannot_be_given_is_refused(
    run: Run, store: Path, arguments: tuple[str, ...], problem: str
) -> None:
    result = run("records", "feedback", *arguments, "--store", str(store))
    assert result.code == CallerError.exit_code
    assert problem in result.err
