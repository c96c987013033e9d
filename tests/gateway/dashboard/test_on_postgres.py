"""Records that were moved to PostgreSQL: the dashboard and the commands say the same as on SQLite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from router import Router
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.store.backend import FolderBackend
from router.store.records.postgres.address import read_address
from router.store.records.postgres.records import PostgresRecords
from tests.commands.conftest import Run, run
from tests.gateway.dashboard.conftest import KEYS, fill
from tests.gateway.servers import make_gateway, served
from tests.postgres import PASSWORD, Server

__all__ = ["run"]

# Those of the shipped cards.
_PATHS = (
    *("traffic?hours=24", "savings?hours=24", "routing?hours=24", "requests", "requests?errors=1", "requests?key=ann"),
    *("requests/req_0000", "requests/by-name", "requests?card=gpt-4o-mini"),
)


@pytest.fixture(scope="module")
def url(postgres_server: Server) -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="module")
def folder(shipped: Router, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    fill(folder, shipped)
    return folder


@pytest.fixture(autouse=True)
def own_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULVINAR_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PULVINAR_STORE", str(folder / "default"))
    monkeypatch.delenv("PULVINAR_RECORDS", raising=False)


def answers(shipped: Router, backend: FolderBackend) -> dict[str, Any]:
    app = make_app(make_gateway(shipped, GatewayConfig(), KEYS, backend=backend))
    with (
        served(app) as url,
        httpx.Client(base_url=url, trust_env=False, headers={"authorization": "Bearer boss"}) as client,
    ):
        texts = {path: client.get(f"/dashboard/api/{path}").raise_for_status().text for path in _PATHS}
    # Sums depend on the order, which no database promises, in their last digit.
    return {path: json.loads(text, parse_float=lambda number: round(float(number), 9)) for path, text in texts.items()}


def test_records_are_moved_compared_and_not_added_again(run: Run, folder: Path, url: str) -> None:
    moved = run("records", "move", "--from", str(folder), "--to", url)
    assert moved.code == 0, moved.err
    assert "33 records were added, 0 were there already" in moved.out
    assert "2 judgements" in moved.out
    assert "each was read back and is the same; nothing was deleted" in moved.out
    again = run("records", "move", "--from", str(folder), "--to", url)
    assert "0 records were added, 33 were there already" in again.out
    assert PASSWORD not in moved.out + moved.err


def test_moving_continues_where_it_was_interrupted(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.store.records.sqlite.BATCH", 10)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("router.store.records.sqlite_feedback.SqliteFeedback.add", interrupted)
        assert run("records", "move", "--from", str(folder), "--to", str(tmp_path / "new")).code != 0
    moved = run("records", "move", "--from", str(folder), "--to", str(tmp_path / "new"))
    assert "continuing after the" in moved.err
    assert "0 records were added, 0 were there already" in moved.out
    assert "2 judgements" in moved.out


def test_records_that_differ_in_the_other_store_are_named(run: Run, folder: Path, tmp_path: Path) -> None:
    with FolderBackend(folder).archive() as old, FolderBackend(tmp_path / "new").archive() as new:
        first = old.added_after(0)[0][1]
        new.add([type(first)(first.id, first.at, "chat", "another", False, first.outcome)], 0.0)
    moved = run("records", "move", "--from", str(folder), "--to", str(tmp_path / "new"))
    assert moved.code == 1
    assert f"1 records are not there, or not the same: {first.id}" in moved.out


def test_a_store_is_not_moved_to_itself(run: Run, folder: Path) -> None:
    moved = run("records", "move", "--from", str(folder), "--to", f"sqlite:///{folder}")
    assert (moved.code, "are the same store" in moved.err) == (2, True)


def test_the_dashboard_says_the_same(run: Run, shipped: Router, folder: Path, url: str) -> None:
    run("records", "move", "--from", str(folder), "--to", url)
    expected, found = answers(shipped, FolderBackend(folder)), answers(shipped, FolderBackend(folder, records_url=url))
    for path in _PATHS:
        # The time from which hours are counted back is that of the request.
        for answer in (found[path], expected[path]):
            for moment in ("since", "until"):
                answer.pop(moment, None)
        assert found[path] == expected[path], path


@pytest.mark.parametrize(
    "command",
    [
        ("records", "tail", "--json"),
        ("records", "tail", "--errors"),
        ("records", "show", "req_0001"),
        ("records", "replay", "--last", "3"),
        ("records", "feedback", "--json"),
        ("savings", "--by", "policy"),
        ("cards", "fit-latency", "--dry-run", "--json"),
    ],
)
def test_commands_say_the_same(run: Run, folder: Path, url: str, command: tuple[str, ...]) -> None:
    run("records", "move", "--from", str(folder), "--to", url)
    expected = run(*command, "--store", str(folder))
    assert run(*command, "--records", url) == expected


def test_the_database_of_commands_may_be_in_a_variable(
    run: Run, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("records", "move", "--from", str(folder), "--to", url)
    monkeypatch.setenv("PULVINAR_RECORDS", url)
    assert run("records", "tail") == run("records", "tail", "--records", url)
    assert "no records in" in run("records", "tail", "--store", str(folder / "empty")).err


def test_the_operator_judges_answers_in_postgres(run: Run, folder: Path, url: str) -> None:
    run("records", "move", "--from", str(folder), "--to", url)
    assert run("records", "feedback", "req_0005", "--verdict", "bad", "--records", url).code == 0
    with PostgresRecords.open(read_address(url)) as records:
        assert [given.value for given in records.feedback_of("req_0005")] == [0.0]
    listed = json.loads(run("records", "feedback", "req_0005", "--json", "--records", url).out)
    assert listed[0]["source"] == "operator"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("records", "tail", "--records", "--json"), "--records takes the URL of a database"),
        (("records", "tail", "--records", "folder"), "it is no URL"),
        (("records", "tail", "--store", "postgresql://me:hidden@host/db"), "are chosen with --records"),
        (("serve", "--records", "--port", "1"), "`route serve` records without it"),
        (("serve", "--records", "mysql://me:hidden@host/db"), 'unknown scheme "mysql"'),
        (("serve", "--records", "postgresql://host/db", "--no-records"), "contradict each other"),
        (("promote", "a", "--against", "b", "--records", "postgresql://me:hidden@127.0.0.1:9/db"), "cannot be reached"),
    ],
)
def test_odd_places_of_records_are_refused(run: Run, arguments: tuple[str, ...], problem: str) -> None:
    ended = run(*arguments)
    assert ended.code != 0
    assert problem in re.sub(r"\s*│?\n│?\s*", " ", ended.err)
    assert "hidden" not in ended.err + ended.out
