"""`route evaluate-policy`: on the records of a gateway that explores, and of one that does not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router import Router
from router.decide.exploration.rule import Draw, ExplorationRule
from router.store.backend import FolderBackend
from router.store.records.feedback import Feedback
from router.store.records.journal import Journal
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.types import Outcome
from router.wire.chat.request import ChatRequest
from tests.commands.conftest import Run
from tests.store.records.examples import TODAY, record

REQUESTS = 240
PROMPT = "Translate this sentence into French: the cat sleeps on the warm stove."


class Recorded(msgspec.Struct, frozen=True):
    """A store of judged requests, the card that the policy chose, one that it explored and that is better, and one that
    it never tried.
    """

    store: Path
    choice: str
    better: str
    untried: str


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    store = tmp_path_factory.mktemp("store")
    router, rng, now_s = Router.default(), np.random.default_rng(0), time.time()
    policy = msgspec.structs.replace(router.policies["best"], explore=ExplorationRule(share=0.5))
    request = ChatRequest.from_prompt(PROMPT)
    journal = Journal.open(store)
    snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), journal.keep)
    cards: list[str] = []
    for number in range(REQUESTS):
        routed = router.route(request, policy=policy, today=TODAY, draw=Draw(float(rng.random())))
        cards.append(routed.decision.card)
        outcome = Outcome(200, 900.0, routed.decision.card, cost_usd=0.001)
        decision = snapshots.decision_record(routed)
        journal.append(record(f"r{number:04}", at=now_s - REQUESTS + number, outcome=outcome, decision=decision))
    journal.close()
    assert routed.decision.exploration is not None
    choice, better = list(routed.decision.exploration.propensities)[:2]
    untried = routed.decision.candidates[-1].card
    with FolderBackend(store).feedback() as feedback:
        for number, card in enumerate(cards):
            value = float(rng.random() < (0.95 if card == better else 0.3))
            feedback.add(Feedback(f"r{number:04}", value, now_s), of_any_key=True)
    return Recorded(store, choice, better, untried)


def write_policy(folder: Path, card: str) -> Path:
    file = folder / "new.yaml"
    file.write_text(f"id: new\ndescription: One card where it is possible.\nguard: {{novelty: 0}}\ndefault: {card}\n")
    return file


def test_a_policy_that_takes_the_better_card_is_found_to_be_better(
    run: Run, recorded: Recorded, tmp_path: Path
) -> None:
    file = write_policy(tmp_path, recorded.better)
    ended = run("evaluate-policy", file, "--store", recorded.store, "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["verdict"], found["requests"]) == (0, "better", REQUESTS)
    assert found["gain"]["low"] > 0.3
    assert found["unseen"]["requests"] == 0
    shown = run("evaluate-policy", file, "--store", recorded.store, "--of", "best").out
    assert "doubly robust" in shown
    assert "NEW is better, by 0." in shown


def test_todays_policy_is_the_same_as_itself(run: Run, recorded: Recorded) -> None:
    ended = run("evaluate-policy", "best", "--store", recorded.store)
    assert "NEW decides every one of these requests as today's policy does" in ended.out


def test_a_card_that_was_never_tried_is_named(run: Run, recorded: Recorded, tmp_path: Path) -> None:
    ended = run("evaluate-policy", write_policy(tmp_path, recorded.untried), "--store", recorded.store)
    assert f"was ever tried: {recorded.untried} ({REQUESTS})" in ended.out
    assert "unknown" in ended.out


def test_flags_change_what_new_decides(run: Run, recorded: Recorded) -> None:
    ended = run("evaluate-policy", "best", "--flags", "cheapest*5", "--store", recorded.store, "--json")
    assert json.loads(ended.out)["changed"] == REQUESTS


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("besd",), 'there is no policy "besd"'),
        (("missing.yaml",), "missing.yaml"),
        (("best", "--of", "besd"), 'there is no policy "besd"'),
        (("best", "--since", "soon"), "--since takes an age"),
    ],
)
def test_what_cannot_be_meant_is_an_error(
    run: Run, recorded: Recorded, arguments: tuple[str, ...], problem: str
) -> None:
    ended = run("evaluate-policy", *arguments, "--store", recorded.store)
    assert ended.code != 0
    assert problem in ended.err
