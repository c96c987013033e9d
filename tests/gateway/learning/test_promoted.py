"""Promoted artifacts: running gateways follow, and go back where the new one does worse than it forecast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from router.analysis.artifacts.watch import ForecastedTwice, Watch
from router.analysis.drift.judged import Judged
from router.errors import ConfigurationError
from router.gateway.app import make_app
from router.gateway.config.artifact import ActiveArtifact
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.config.reload import ActiveConfig, ConfigReloader
from router.gateway.config.sources import Sources
from router.gateway.learning.promoted import (
    PromotedArtifact,
    Promotions,
    Step,
    change_promotions,
    read_promotions,
    watched,
    write_promotions,
)
from router.gateway.worker import Gateway
from router.learn.online.outcomes import Lesson
from router.perceive.memory.card import Vote
from router.perceive.memory.sketch import TABLES
from router.perceive.memory.traffic import TrafficCard, TrafficParameters, TrafficSource
from router.perceive.predictor import Predictor
from router.perceive.purpose.profile import Profile
from router.perceive.purpose.profile_file import StoredProfile
from router.pipeline import Router
from router.store.backend import FolderBackend
from router.store.records.journal import Journal
from router.store.records.snapshots import catalogue_snapshot
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState
from tests.gateway.learning.conftest import NOWHERE, active_with
from tests.gateway.servers import Upstream, served, wait_for

_PROMPT = "Prove that the square root of two is irrational, and name every lemma that you use."


@pytest.fixture(scope="module")
def wrong(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    """An artifact that takes the weaker card for the better one, and its folder."""
    numbers = predictor.topics(np.zeros((1, predictor.width), dtype=np.float32)).shape[1]
    cards = tuple(TrafficCard(card, card, 200, 100.0) for card in ("claude-opus-4-5", "gpt-4o-mini"))
    weights = np.array([[-2.5, 0.0], [2.5, 0.0]])
    parameters = TrafficParameters(np.zeros(numbers), np.zeros((0, numbers)), np.zeros(2), weights)
    active = active_with(predictor)
    named = tuple(msgspec.structs.replace(card, model=active.router.catalog.named(card.id).model) for card in cards)
    source = TrafficSource(predictor.id, 0.0, 1.0, 400, 3, 0.5, 0.1, named)
    head = msgspec.structs.replace(predictor.head, traffic=parameters)
    made = Predictor(head, predictor.encoder, msgspec.structs.replace(predictor.manifest, traffic=source))
    folder = tmp_path_factory.mktemp("artifact")
    made.save(folder)
    return made, folder


@contextmanager
def _gateway(upstream: Upstream, folder: Path, predictor: Predictor) -> Iterator[tuple[Gateway, httpx.Client]]:
    artifact, first = ActiveArtifact(predictor), active_with(predictor, upstream.url, "observe")
    keys = Keys([*first.keys, Key(id="boss", hash=hash_of("boss"), operator=True)])

    def load(before: ActiveConfig | None) -> ActiveConfig:
        router = Router(first.router.catalog, first.router.policies, artifact.predictor)
        number = 1 if before is None else before.number + 1
        fingerprint = f"fixed{artifact.mark}"
        snapshot = catalogue_snapshot(router.catalog, {})
        return msgspec.structs.replace(
            first, router=router, keys=keys, catalogue=snapshot, number=number, fingerprint=fingerprint
        )

    reloader = ConfigReloader(load, Sources(NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE))
    state = ThreadedState(SqliteState(folder / "state.sqlite"))
    gateway = Gateway(
        reloader,
        state=state,
        journal=Journal.open(folder, interval_s=0.01),
        backend=FolderBackend(folder),
        artifact=artifact,
    )
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield gateway, client


def _ask(client: httpx.Client, key: str, text: str) -> tuple[str, str]:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    answer = client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"], answer.headers["x-route-card"]


def _promote(folder: Path, old: Predictor, new: tuple[Predictor, Path]) -> None:
    state = SqliteState(folder / "state.sqlite")
    steps = Step("first", old.id, 1.0), Step(str(new[1]), new[0].id, 2.0)
    asyncio.run(change_promotions(state, lambda before: before.promoted(*steps, time.time()), time.time()))
    state.close()


def test_a_running_gateway_follows_a_promotion_and_rolls_an_artifact_back_that_does_worse(
    upstream: Upstream, tmp_path: Path, predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    with _gateway(upstream, tmp_path, predictor) as (gateway, client):
        assert _ask(client, "ann", _PROMPT)[1] == "claude-opus-4-5"
        _promote(tmp_path, predictor, wrong)
        assert wait_for(lambda: gateway.reloader.current.router.predictor.id == wrong[0].id, 20.0)
        assert gateway.promoted.status.promoted is True
        for number in range(40):
            for key in ("ann", "bob"):
                id_, card = _ask(client, key, f"{_PROMPT} {number}")
                if gateway.promoted.is_rolled_back:
                    break
                assert card == "gpt-4o-mini"
                judged = {"id": id_, "value": 0.0}
                client.post("/v1/feedback", json=judged, headers={"authorization": f"Bearer {key}"}).raise_for_status()
        assert wait_for(lambda: gateway.promoted.is_rolled_back, 20.0)
        assert wait_for(lambda: gateway.reloader.current.router.predictor is predictor, 20.0)
        assert _ask(client, "ann", f"{_PROMPT} Again.")[1] == "claude-opus-4-5"
        operator = client.get("/readyz", headers={"authorization": "Bearer boss"}).json()["artifact"]
        assert operator["id"] == predictor.id
        assert "were forecast" in operator["rolled_back"]["why"]
        assert client.get("/readyz", headers={"authorization": "Bearer ann"}).json()["artifact"] == {"id": predictor.id}
        text = client.get("/metrics", headers={"authorization": "Bearer ann"}).text
        assert "pulvinar_artifact_rolled_back 1.0" in text


def _judged(tenant: str, value: float, expected: float, previous: float) -> ForecastedTwice:
    return ForecastedTwice(Judged(1.79e9, tenant, expected, value), previous)


def test_an_artifact_is_not_to_blame_where_the_previous_one_expected_as_much() -> None:
    blamed, excused, of_one = Watch.start("new"), Watch.start("new"), Watch.start("new")
    for number in range(60):
        tenant = "ab"[number % 2]
        blamed = blamed.add(_judged(tenant, float(number % 4 == 0), 0.8, 0.3))
        excused = excused.add(_judged(tenant, float(number % 4 == 0), 0.8, 0.85))
        of_one = of_one.add(_judged("a", float(number % 4 == 0), 0.8, 0.3))
    assert blamed.why_worse(one_key=False) is not None
    assert excused.why_worse(one_key=True) is None
    assert of_one.why_worse(one_key=False) is None
    assert of_one.why_worse(one_key=True) is not None
    again = Watch.from_bytes(blamed.to_bytes())
    assert again.why_worse(one_key=False) == blamed.why_worse(one_key=False)
    with pytest.raises(ValueError, match="damaged"):
        Watch.from_bytes(b"nonsense")


def test_an_artifact_that_is_promoted_once_more_is_tested_anew() -> None:
    worse = [_judged("ab"[number % 2], float(number % 4 == 0), 0.8, 0.3) for number in range(60)]
    before = watched(b"", "new 1.0", worse)
    assert before.why_worse(one_key=False) is not None
    assert watched(before.to_bytes(), "new 1.0", worse[:1]).why_worse(one_key=False) is not None
    assert watched(before.to_bytes(), "new 2.0", worse[:1]).why_worse(one_key=False) is None


def test_answers_that_are_as_forecast_roll_nothing_back() -> None:
    rng, watch = np.random.default_rng(0), Watch.start("new")
    for number in range(500):
        expected = float(rng.uniform(0.3, 0.9))
        watch = watch.add(_judged("abc"[number % 3], float(rng.random() < expected), expected, expected - 0.1))
    assert watch.why_worse(one_key=True) is None


def test_a_chain_of_promotions_goes_back_one_by_one_and_begins_anew_for_another_artifact() -> None:
    one, two, three = (Step(name, name, 1.0) for name in ("a", "b", "c"))
    chain = Promotions().promoted(one, two, 2.0).promoted(two, three, 3.0)
    assert [step.artifact for step in chain.chain] == ["a", "b", "c"]
    back = chain.rolled_back("slow", "operator", 4.0)
    assert [step.artifact for step in back.chain] == ["a", "b"]
    assert back.last_rollback is not None
    assert (back.last_rollback.artifact, back.last_rollback.to) == ("c", "b")
    assert [step.artifact for step in back.promoted(one, three, 5.0).chain] == ["a", "c"]
    assert read_promotions(write_promotions(back)) == back
    assert read_promotions(b"nonsense") == Promotions()


class _Follower:
    """One worker's promotions, and what its configuration files and the artifact's folder do at the moment."""

    def __init__(self, first: Predictor, found: Predictor) -> None:
        self.artifact, self.found = ActiveArtifact(first), found
        self.files, self.broken_line = "fixed", ""
        self.profiles: dict[str, StoredProfile] = {}
        self.loads, self.reloads = 0, -1
        self.lines: list[str] = []
        nowhere = Sources(NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE)
        self.reloader = ConfigReloader(self._reload, nowhere, notify=self.lines.append)
        self.state = SqliteState()
        self.promoted = PromotedArtifact(self.state, self.artifact, self.reloader, self._load)

    def _reload(self, before: ActiveConfig | None) -> ActiveConfig:
        self.reloads += 1
        if self.broken_line:
            raise ConfigurationError(self.broken_line)
        predictor = self.artifact.predictor
        predictor.evidence_of({}, self.profiles)
        active, number = active_with(predictor), 1 if before is None else before.number + 1
        fingerprint = self.files + self.artifact.mark
        return msgspec.structs.replace(active, number=number, fingerprint=fingerprint, profiles=self.profiles)

    def _load(self, _: Path) -> Predictor:
        self.loads += 1
        return self.found

    async def promote(self, old: str, new: str, at_s: float = 2.0) -> None:
        steps = Step("first", old, 1.0), Step("/nowhere", new, at_s)
        await change_promotions(self.state, lambda before: before.promoted(*steps, at_s), at_s)

    async def refresh(self, times: int = 1) -> None:
        for _ in range(times):
            await self.promoted.refresh()


def test_a_folder_with_another_artifact_than_the_promoted_one_is_not_used(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=predictor)
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh()
        assert worker.promoted.problem is not None
        assert "has the artifact" in worker.promoted.problem
        assert worker.artifact.predictor is predictor
        assert worker.reloads == 0

    asyncio.run(run())


def test_a_gateway_of_another_artifact_takes_no_part(predictor: Predictor, wrong: tuple[Predictor, Path]) -> None:
    async def run() -> None:
        worker = _Follower(wrong[0], found=predictor)
        await worker.promote("skills-x", "skills-y")
        await worker.refresh()
        assert worker.promoted.status.promoted is False
        assert worker.loads == 0

    asyncio.run(run())


def test_a_promotion_that_a_broken_file_holds_up_names_the_file_and_is_tried_ever_more_rarely(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=wrong[0])
        worker.broken_line = "cards/a.yaml:3: price: must be a number"
        await worker.reloader.reload()
        reported = list(worker.lines)
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh(64)
        assert worker.promoted.problem is not None
        assert worker.promoted.problem.endswith(worker.broken_line)
        assert 2 <= worker.loads <= 7
        assert worker.lines == reported, "the broken file was reported again"
        assert worker.reloader.current.router.predictor is predictor

    asyncio.run(run())


def test_a_promotion_that_a_broken_file_holds_up_is_tried_at_once_when_the_edit_is_undone(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=wrong[0])
        worker.broken_line = "cards/a.yaml:3: price: must be a number"
        await worker.reloader.reload()
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh(20)
        worker.broken_line = ""
        await worker.reloader.reload()
        await worker.refresh()
        assert worker.promoted.problem is None
        assert worker.reloader.current.router.predictor is wrong[0]

    asyncio.run(run())


def test_an_artifact_that_cannot_be_used_is_tried_at_once_after_another_promotion_or_configuration(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=predictor)
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh(20)
        before = worker.loads
        worker.files = "edited"
        await worker.reloader.reload()
        await worker.refresh()
        assert worker.loads == before + 1
        await worker.refresh()
        await worker.promote(predictor.id, wrong[0].id, at_s=3.0)
        await worker.refresh()
        assert worker.loads == before + 2

    asyncio.run(run())


def test_an_artifact_that_cannot_read_a_profile_is_not_used_for_that_reason_and_no_edit_is_blamed(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=wrong[0])
        worker.profiles = {"a": _unreadable()}
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh()
        assert worker.promoted.problem is not None
        assert "profiles/a.npz: was made with another encoder" in worker.promoted.problem
        assert worker.reloader.problem is None
        assert worker.lines == []

    asyncio.run(run())


def test_a_promotion_that_was_never_used_leaves_no_problem_when_it_is_rolled_back(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=predictor)
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh()
        assert worker.promoted.status.problem is not None
        await change_promotions(worker.state, lambda before: before.rolled_back("slow", "operator", 4.0), 4.0)
        await worker.refresh()
        assert worker.promoted.status.problem is None

    asyncio.run(run())


def test_a_judgement_is_left_out_where_the_previous_artifact_cannot_read_the_present_cards(
    predictor: Predictor, wrong: tuple[Predictor, Path]
) -> None:
    async def run() -> None:
        worker = _Follower(predictor, found=wrong[0])
        await worker.promote(predictor.id, wrong[0].id)
        await worker.refresh()
        worker.reloader.current = msgspec.structs.replace(worker.reloader.current, profiles={"a": _unreadable()})
        vote = Vote("ann", -0.5, 1.0, np.zeros(TABLES, dtype=np.intp))
        worker.promoted.watch(Lesson("gpt-4o-mini", vote, expected=0.8))
        await worker.refresh()
        assert worker.promoted.status.promoted is True
        assert not worker.promoted.is_rolled_back

    asyncio.run(run())


def _unreadable() -> StoredProfile:
    """A profile that another encoder has made."""
    row, rows = np.zeros(0, dtype=np.float32), np.zeros((0, 0), dtype=np.float32)
    return StoredProfile(Profile("other", 1, row, rows, row, "", rows, np.zeros(0), "profiles/a.npz"), "hash")
