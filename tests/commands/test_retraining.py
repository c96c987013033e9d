"""From judged requests to a retrained artifact that gateways use, and back."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest

from router.gateway.learning.promoted import PROMOTED, read_promotions
from router.learn.data import RoutingSet
from router.loading import load_router
from router.perceive.predictor import Predictor
from router.store.backend import FolderBackend
from router.store.records.feedback import Feedback
from router.store.records.journal import Journal
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.store.state.sqlite import SqliteState
from router.types import Outcome
from router.wire.chat.request import ChatRequest
from tests.commands.conftest import Ended, Run
from tests.store.records.examples import record

_CARD = "id: {0}\nprovider: openai\nmodel: {0}\nprice: {{input: 1$, output: 1$}}\n"
_POLICY = "id: default\ndescription: Quality alone.\n"
_REQUESTS = 420


@pytest.fixture(scope="module")
def folder(predictor: Predictor, planted_set: RoutingSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact, cards, a policy, and judged requests: whatever the poet writes is bad, the generalist is good."""
    made = tmp_path_factory.mktemp("retraining")
    predictor.save(made / "old")
    for name in ("cards", "policies"):
        (made / name).mkdir()
    for card in planted_set.models:
        (made / "cards" / f"{card}.yaml").write_text(_CARD.format(card))
    (made / "policies" / "default.yaml").write_text(_POLICY)
    router = load_router(made / "cards", made / "policies", made / "old")
    journal = Journal.open(made / "store", interval_s=0.01)
    snapshots = Snapshots(catalogue_snapshot(router.catalog, {}), journal.keep)
    start_s, rng = time.time() - 10 * 86_400, np.random.default_rng(0)
    cards = []
    for number in range(_REQUESTS):
        prompt = planted_set.prompts[int(rng.integers(len(planted_set.prompts)))]
        body = {"messages": [{"role": "user", "content": prompt.turns[0]}]}
        decision = snapshots.decision_record(router.route(ChatRequest.from_body(body)))
        cards.append(decision.card if number % 3 else "generalist")
        made_record = record(
            f"r{number}",
            at=start_s + 600 * number,
            key=f"key-{number % 9}",
            decision=decision,
            outcome=Outcome(200, 1.0, cards[-1]),
        )
        journal.append(made_record)
    journal.close()
    backend = FolderBackend(made / "store")
    with backend.read_records() as records, backend.feedback() as feedback:  # type: ignore[union-attr]
        assert records.last_number() == _REQUESTS
        for number, card in enumerate(cards):
            right = float(rng.random() < {"poet": 0.1, "generalist": 0.9}.get(card, 0.9))
            feedback.add(Feedback(f"r{number}", right, start_s + 600 * number + 5, key=f"key-{number % 9}"))
    return made


@pytest.fixture(scope="module")
def new(folder: Path) -> Path:
    return folder / "new"


def _in(folder: Path) -> tuple[str, ...]:
    return ("--cards", str(folder / "cards"), "--policies", str(folder / "policies"))


def _train(folder: Path, new: Path, run: Run) -> Ended:
    return run("train", "--from-records", folder / "store", "--artifact", folder / "old", "--out", new, *_in(folder))


def test_a_retrained_artifact_is_written_promoted_and_rolled_back(folder: Path, new: Path, run: Run) -> None:
    trained = _train(folder, new, run)
    assert trained.code == 0, trained.err
    assert "294 judged answers of 9 keys" in trained.out
    assert f"{new}: artifact skills-" in trained.out
    assert json.loads((new / "traffic.json").read_text())["held_out"]["judged"] == 126
    comparison = ("--against", folder / "old", "--records", folder / "store", *_in(folder))
    budget = ("--max-negative-flips", "20%")
    state = ("--store", folder / "state")
    refused = run("promote", new, *comparison, "--max-negative-flips", "0%", "--apply", *state, "--json")
    assert refused.code == 1
    assert json.loads(refused.out)["applied"] is False
    assert "no artifact is promoted" in run("promote", "--rollback", "why", *state).err
    promoted = run("promote", new, *comparison, *budget, "--apply", *state)
    assert promoted.code == 0, promoted.out
    assert "126 judged answers of 9 keys; 294 more were trained on" in promoted.out
    assert "\npromoted\n" in promoted.out
    shared = SqliteState(folder / "state" / "state.sqlite")
    (blob,) = asyncio.run(shared.blobs_after(0, PROMOTED))
    shared.close()
    assert [Path(step.folder).name for step in read_promotions(blob.content).chain] == ["old", "new"]
    back = run("promote", "--rollback", "users complain", *state)
    assert "running gateways follow" in back.out


def test_the_worse_artifact_is_refused(folder: Path, tmp_path: Path, run: Run) -> None:
    new = tmp_path / "new"
    assert _train(folder, new, run).code == 0
    ended = run("promote", folder / "old", "--against", new, "--records", folder / "store", *_in(folder))
    assert ended.code == 1
    assert "its forecasts are not nearer to the judgements beyond doubt" in ended.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("train", "--out", "x"), "nothing to train on"),
        (("train", "set", "--from-records", "store", "--out", "x"), "SETS: not with --from-records"),
        (
            ("train", "--from-records", "store", "--out", "x", "--ids", "f", "--plans"),
            "--ids, --plans: not with --from-",
        ),
        (("train", "--from-records", "nowhere", "--out", "x"), "--from-records: nowhere is no store with records"),
        (("train", "--from-records", "store", "--artifact", "old", "--out", "old"), "is the artifact to begin with"),
        (("train", "--from-records", "store", "--artifact", "old", "--out", "x", "--since", "1d"), "too little to"),
        (("promote", "old", "--records", "store", "--against", "old"), "are the same artifact"),
        (("promote", "old"), "judged requests: --records STORE"),
        (("promote",), "name the card"),
        (("promote", "poet", "--apply", "--against", "generalist"), "--apply is for artifacts"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], problem: str, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    ended = run(*arguments)
    assert problem in ended.err
    assert ended.code == 2
