"""`route learning`: what was learned about each card."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest

from router.gateway.learning.memories import basis_of, name_of
from router.loading import load_router
from router.perceive.memory.card import CardMemory, Vote
from router.perceive.memory.sketch import TABLES
from router.perceive.memory.stored import to_bytes
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from tests.commands.conftest import Run

_CARDS = {
    "big": "id: big\nprovider: openai\nmodel: gpt-4o\n",
    "edited": "id: edited\nprovider: openai\nmodel: gpt-4o-mini\n",
}


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    for name, text in _CARDS.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def store(cards: Path, tmp_path: Path) -> Path:
    """The shared state of a gateway that has learned about two cards, of which one was edited since."""
    router, now_s = load_router(cards), time.time()
    state = SqliteState(tmp_path / "store" / "state.sqlite")
    for card in router.catalog:
        basis = basis_of(router.predictor.id, card, None)
        memory = CardMemory.empty(basis)
        for number in range(60):
            vote = Vote("ab"[number % 2], -0.7, 0.5, np.full(TABLES, number % 3))
            memory = memory.learn(vote, now_s - 60 + number)
        asyncio.run(state.swap_blob(Blob(name_of(card.id, basis), 0, to_bytes(memory)), now_s))
    asyncio.run(state.swap_blob(Blob("memory/0/gone", 0, b"nonsense"), now_s))
    tally = Blob("judges/judge:default:big", 0, b"[12, 1, 2, 0.04]")
    asyncio.run(state.swap_blob(tally, now_s))
    state.close()
    (cards / "edited.yaml").write_text(_CARDS["edited"] + "base_url: http://127.0.0.1:9/v1\n")
    return tmp_path / "store"


def test_each_card_is_shown_with_what_its_memory_says(cards: Path, store: Path, run: Run) -> None:
    *of_cards, judge = json.loads(run("learning", "--cards", cards, "--store", store, "--json").out)
    rows = {row["card"]: row for row in of_cards}
    assert (judge["state"], judge["unreadable"], judge["cost_usd"], judge["today_usd"]) == ("judges", 1, 0.04, 0.0)
    big = rows["big"]
    assert (big["state"], big["votes"], big["keys"], big["cells"]) == ("corrects", 60, 2, 3 * TABLES)
    assert big["mean_error"] < -0.4
    assert big["strength"] == 1.0
    assert big["score"] > 0.1
    assert rows["edited"]["state"] == "void: the card has changed since"
    assert rows["gone"]["state"].startswith("damaged: it is damaged")
    shown = run("learning", "--cards", cards, "--store", store, "--key", "a").out
    assert "corrects" in shown
    assert "judge big of policy default: 12 answers judged, 1 verdicts unreadable, 2 failed" in shown


def test_a_card_can_be_forgotten(cards: Path, store: Path, run: Run) -> None:
    out = run("learning", "--forget", "big", "--store", store).out
    assert out == "big: forgotten; running gateways follow within about a second\n"
    rows = json.loads(run("learning", "--cards", cards, "--store", store, "--json").out)
    assert next(row["state"] for row in rows if row["card"] == "big") == "emptied"
    refused = run("learning", "--forget", "bih", "--store", store)
    assert refused.code != 0
    assert 'nothing was learned about "bih"' in refused.err


def test_without_judged_answers_it_says_so(cards: Path, tmp_path: Path, run: Run) -> None:
    ended = run("learning", "--cards", cards, "--store", tmp_path / "empty")
    assert (ended.code, ended.out) == (0, "")
    assert "no answer was judged" in ended.err
