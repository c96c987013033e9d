"""`route canary`: start, status, rollback."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from router.cards import load_catalog
from router.store.state.sqlite import SqliteState
from tests.commands.conftest import Run
from tests.redis_server import needs_redis, redis_server

OLD = "id: old\nprovider: openai\nmodel: old\n"
NEW = "id: new  # trained in June\nprovider: openai\nmodel: new\nlineage: {parents: [old]}\n"


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "old.yaml").write_text(OLD)
    (folder / "new.yaml").write_text(NEW)
    return folder


def test_start_edits_the_card_and_begins_the_trial_anew(cards: Path, tmp_path: Path, run: Run) -> None:
    store = tmp_path / "store"
    state = SqliteState(store / "state.sqlite")
    asyncio.run(state.stop_trial(("new", "old"), "worse", 1.0))
    ended = run("canary", "start", cards / "new.yaml", "--of", "old", "--share", "10%", "--store", store)
    assert (ended.code, ended.out) == (0, f"{cards}/new.yaml: new takes 10% of the conversations of old\n")
    assert asyncio.run(state.trials()) == ()
    state.close()
    assert "# trained in June" in (cards / "new.yaml").read_text()
    (canary,) = load_catalog(cards).canaries.values()
    assert (canary.card, canary.of, canary.share) == ("new", "old", 0.1)


def test_status_shows_the_counts_and_rollback_stops_the_canary(cards: Path, tmp_path: Path, run: Run) -> None:
    common = ("--cards", cards, "--store", tmp_path / "store")
    run("canary", "start", cards / "new.yaml", "--of", "old", *common)
    state = SqliteState(tmp_path / "store" / "state.sqlite")
    for is_new, is_bad in ((True, True), (True, False), (False, False)):
        asyncio.run(state.count_trial(("new", "old"), is_new=is_new, is_bad=is_bad))
    state.close()
    assert "running" in run("canary", "status", *common).out
    assert run("canary", "rollback", "new", *common).out == "new is rolled back to old\n"
    assert run("canary", "rollback", "new", *common).out == "new was already rolled back to old\n"
    (row,) = json.loads(run("canary", "status", "--json", *common).out)
    assert (row["new"], row["new_bad"], row["old"], row["stopped"]) == (2, 1, 1, "by the operator")


@needs_redis
def test_the_trials_of_several_gateways_are_those_of_their_shared_state(
    cards: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_server() as server:
        common = ("--cards", cards, "--store", tmp_path / "store")
        run("canary", "start", cards / "new.yaml", "--of", "old", *common, "--state", server.url)
        monkeypatch.setenv("PULVINAR_STATE", server.url)
        assert run("canary", "rollback", "new", *common).out == "new is rolled back to old\n"
        assert "rolled back" in run("canary", "status", *common).out
        server.kill()
        ended = run("canary", "status", *common)
    assert ended.code == 3
    assert "the shared state does not respond" in ended.err
    assert not (tmp_path / "store").exists()


def test_without_canaries_status_says_how_to_start_one(cards: Path, tmp_path: Path, run: Run) -> None:
    out = run("canary", "status", "--cards", cards, "--store", tmp_path / "store").out
    assert out.startswith("no card has lineage.state: canary")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("start", "new.yaml", "--of", "odl"), 'there is no card "odl"'),
        (("start", "new.yaml", "--of", "new"), "is the card itself"),
        (("start", "new.yaml", "--of", "old", "--share", "0"), "--share: expected a share above 0"),
        (("rollback", "old"), "old is no canary"),
    ],
)
def test_a_mistake_is_explained(
    cards: Path, tmp_path: Path, run: Run, arguments: tuple[str, ...], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cards)
    ended = run("canary", *arguments, "--cards", cards, "--store", tmp_path / "store")
    assert ended.code == 2
    assert problem in ended.err
    assert (cards / "new.yaml").read_text() == NEW


@pytest.mark.parametrize("share", ["0.5", "50%", " 50 %"])
def test_a_share_is_written_as_a_percentage_however_it_is_stated(
    cards: Path, tmp_path: Path, run: Run, share: str
) -> None:
    ended = run("canary", "start", cards / "new.yaml", "--of", "old", "--share", share, "--store", tmp_path / "store")
    assert ended.code == 0, ended.err
    assert "share: 50%" in (cards / "new.yaml").read_text()


def test_a_card_whose_style_cannot_be_edited_is_left_as_it_is(cards: Path, tmp_path: Path, run: Run) -> None:
    text = "{id: new, provider: openai, model: new}\n"
    (cards / "new.yaml").write_text(text)
    ended = run("canary", "start", cards / "new.yaml", "--of", "old", "--store", tmp_path / "store")
    assert "write `of: old, share: 5%, state: canary` under `lineage` by hand" in ended.err
    assert (cards / "new.yaml").read_text() == text
