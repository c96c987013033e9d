"""`route drift` and `route gaps`."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router import Router
from router.analysis.drift.judged import CardDrift, Judged
from router.analysis.drift.stored import to_bytes
from router.analysis.gaps import Gap
from router.gateway.learning.memories import basis_of
from router.gateway.learning.traffic import gap_watch
from router.store.records.journal import open_records
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.store.records.sqlite import SqliteRecords
from router.store.records.totals import DAY_S
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from router.types import Outcome
from router.wire import ChatRequest
from tests.commands.conftest import Run
from tests.redis_server import free_port

_CARD = "gpt-4o-mini"
_DAYS, _A_DAY, _NEW_DAYS = 5, 60, 1
_USUAL = ("What is {} times {}?", "Is {} divided by {} an integer? Explain.", "Write {} lines about the year {}.")
# Nothing like it is in the training.
_NEW = "Kirjoita runo numerosta {} ja talosta {}."


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some days of requests, of which half of the last day are of another kind, and a card that got worse."""
    folder, router, now_s = tmp_path_factory.mktemp("store"), Router.default(), time.time()
    kept: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> bool:
        kept.append(snapshot)
        return True

    snapshots, rng = Snapshots(catalogue_snapshot(router.catalog, router.evidence), keep), np.random.default_rng(0)
    first_s, records = (now_s // DAY_S - _DAYS) * DAY_S, []
    elsewhere = {card.id: "no key" for card in router.catalog if card.provider != "openai"}
    for number in range(_DAYS * _A_DAY):
        is_new = number >= (_DAYS - _NEW_DAYS) * _A_DAY and number % 2 == 0
        prompt = (_NEW if is_new else _USUAL[number % 3]).format(*rng.integers(2, 999, 2))
        routed = router.route(ChatRequest.from_prompt(prompt), unavailable=elsewhere)
        decision = snapshots.decision_record(routed)
        body = json.dumps({"messages": [{"role": "user", "content": prompt}]}).encode()
        at, outcome = first_s + number * DAY_S / _A_DAY, Outcome(200, 900.0, card=decision.card)
        records.append(Record(f"r{number:05}", at, "chat", "auto", False, outcome, "ann", None, decision, body))
    with SqliteRecords.open(folder) as opened:
        opened.add([*kept, *records], now_s)
    card = router.catalog.named(_CARD)
    drift = CardDrift.empty(basis_of(router.predictor.id, card, router.evidence.get(card.id)))
    for number in range(300):
        right = float(rng.random() < (0.8 if number < 220 else 0.2))
        drift = drift.add(Judged(now_s - 60.0 * (300 - number), "abc"[number % 3], 0.8, right, "maths"))
    state = SqliteState(folder / "state.sqlite")
    asyncio.run(state.swap_blob(Blob(f"drift/{_CARD}", 0, to_bytes(drift)), now_s))
    asyncio.run(state.swap_blob(Blob("drift/gone", 0, b"nonsense"), now_s))
    state.close()
    return folder


def test_drift_names_the_card_since_when_and_what_to_do(run: Run, store: Path) -> None:
    document = json.loads(run("drift", "--store", store, "--json").out)
    alarm = document["alarms"][0]
    assert (alarm["card"], alarm["direction"], alarm["kind"]) == (_CARD, "worse", "")
    assert alarm["since_s"] == pytest.approx(time.time() - 80 * 60, abs=1_800)
    assert alarm["judgements_a_false_alarm"] == 20_000
    assert document["calibration"][0]["bias"] < -0.1
    shown = run("drift", "--store", store)
    assert "1 in 20,000" in " ".join(shown.out.split())
    assert f"{_CARD}: read its judged answers" in shown.out
    assert "gone" in shown.err


def test_drift_finds_the_days_with_other_prompts(run: Run, store: Path) -> None:
    days = json.loads(run("drift", "--store", store, "--json").out)["traffic"]
    alarms = [day for day in days if day["since"]]
    assert {day["aspect"] for day in alarms} >= {"topics"}
    assert len({day["since"] for day in alarms}) == 1


def test_days_before_the_time_that_is_asked_for_are_only_compared_with(run: Run, store: Path) -> None:
    of_all, newest = (
        {day["day"] for day in json.loads(run("drift", "--store", store, "--since", since, "--json").out)["traffic"]}
        for since in ("30d", "1d")
    )
    assert len(of_all) == _DAYS - 3
    assert newest == {max(of_all)}


def test_gaps_say_what_an_adapter_would_be_worth(run: Run, store: Path) -> None:
    document = json.loads(run("gaps", "--store", store, "--since", "14d", "--json").out)
    gap = document["gaps"][0]
    assert "kirjoita" in gap["terms"]
    assert gap["prompts"] == pytest.approx(_NEW_DAYS * _A_DAY / 2, abs=20)
    # The first request is that of a midnight, five days before the last one.
    days = _DAYS + time.time() % DAY_S / DAY_S
    assert gap["weekly"] == pytest.approx(gap["prompts"] * 7 / days, rel=0.05)
    assert 0 < gap["forecast"] <= 1
    assert "nothing to gain" in run("gaps", "--store", store, "--since", "14d").out
    worse = msgspec.structs.replace(msgspec.convert(gap, Gap), forecast=0.41, weekly=312.4)
    assert worse.proposal.startswith("train an adapter for ")
    assert worse.proposal.endswith(": 312 requests a week, forecast 0.41")


def test_gaps_shows_what_a_gateway_has_found_last_night_unless_asked_to_look_now(run: Run, store: Path) -> None:
    router = Router.default()
    state = SqliteState(store / "state.sqlite")
    night_s = (time.time() // DAY_S) * DAY_S + 60.0
    watch = gap_watch(state, lambda: open_records(store), lambda: router, clock=lambda: night_s)
    asyncio.run(watch.refresh())
    state.close()
    stored = json.loads(run("gaps", "--store", store, "--json").out)
    assert stored["until_s"] == night_s
    assert "kirjoita" in stored["gaps"][0]["terms"]
    assert "as a gateway found them at" in run("gaps", "--store", store).out
    assert "as a gateway found them at" not in run("gaps", "--store", store, "--since", "14d").out


def test_gaps_looks_at_the_records_where_the_shared_state_cannot_be_read(run: Run, store: Path) -> None:
    ended = run("gaps", "--store", store, "--state", f"redis://127.0.0.1:{free_port()}/0", "--json")
    assert "kirjoita" in json.loads(ended.out)["gaps"][0]["terms"]
    assert "looking at the records now" in ended.err


def test_a_card_can_begin_anew(run: Run, store: Path) -> None:
    refused = run("drift", "--store", store, "--forget", "gpt-4o-mni")
    assert 'did you mean "gpt-4o-mini"' in refused.err
    assert run("drift", "--store", store, "--forget", _CARD).code == 0
    assert json.loads(run("drift", "--store", store, "--json").out)["alarms"] == []


def test_without_judged_answers_and_records_it_says_so(run: Run, tmp_path: Path) -> None:
    ended = run("drift", "--store", tmp_path)
    assert (ended.code, ended.out) == (0, "")
    assert "no answer was judged yet" in ended.err
    assert "no records" in run("gaps", "--store", tmp_path).err
