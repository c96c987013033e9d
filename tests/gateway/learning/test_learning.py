"""Feedback changes what a running gateway chooses, where its policy says so."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from router.analysis.replay import Replayer
from router.decide.policy import RegexGrader
from router.gateway.app import make_app
from router.gateway.config.reload import ConfigReloader
from router.gateway.config.sources import Sources
from router.gateway.worker import Gateway
from router.perceive.memory.stored import from_bytes
from router.perceive.predictor import Predictor
from router.store.backend import FolderBackend
from router.store.records.journal import Journal, open_records
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState
from tests.gateway.learning.conftest import NOWHERE, active_with, exposed
from tests.gateway.servers import Upstream, served, wait_for

_PROMPT = "Prove that the square root of two is irrational, and name every lemma that you use."


class _Served:
    def __init__(self, url: str, gateway: Gateway, folder: Path) -> None:
        self.gateway, self.folder = gateway, folder
        self._numbers = itertools.count()
        self.http = httpx.Client(base_url=url, trust_env=False)

    def _post(self, path: str, key: str, body: dict[str, object]) -> httpx.Response:
        response = self.http.post(path, json=body, headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 200, response.text
        return response

    def ask(self, key: str, text: str | None = None, *, stream: bool = False) -> tuple[str, str]:
        """The id of the request, and the card that answered."""
        # Each prompt is another one, since a client that repeats a prompt says something about the answer, too.
        content = f"{_PROMPT} {next(self._numbers)}" if text is None else text
        body = {"model": "auto", "messages": [{"role": "user", "content": content}], "stream": stream}
        answer = self._post("/v1/chat/completions", key, body)
        return answer.headers["x-request-id"], answer.headers["x-route-card"]

    def judge(self, key: str, times: int) -> None:
        """Ask, and say that the strong card was wrong, or that the other one was right."""
        for _ in range(times):
            id_, card = self.ask(key)
            value = float(card == "gpt-4o-mini")
            self._post("/v1/feedback", key, {"id": id_, "value": value, "idempotency_key": id_})

    def votes(self) -> int:
        return sum(memory.votes for memory in self.gateway.memories.known().values())

    def has_learned(self, votes: int) -> bool:
        return wait_for(lambda: self.gateway.learner.waiting == 0 and self.votes() >= votes, 20.0)


@contextmanager
def _served(
    upstream: Upstream, folder: Path, predictor: Predictor, learning: str, **policy: object
) -> Iterator[_Served]:
    active = active_with(predictor, upstream.url, learning, **policy)
    reloader = ConfigReloader(lambda _: active, Sources(NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE))
    gateway = Gateway(
        reloader,
        state=ThreadedState(SqliteState(folder / "state.sqlite")),
        journal=Journal.open(folder, interval_s=0.01),
        backend=FolderBackend(folder),
    )
    with served(make_app(gateway)) as url:
        client = _Served(url, gateway, folder)
        yield client
        client.http.close()


def test_feedback_of_two_keys_changes_the_choice_for_a_third_and_the_decision_replays(
    upstream: Upstream, tmp_path: Path, predictor: Predictor
) -> None:
    with _served(upstream, tmp_path, predictor, "apply") as client:
        assert client.ask("eve")[1] == "claude-opus-4-5"
        for _ in range(20):
            client.judge("ann", 1)
            client.judge("bob", 1)
        assert client.has_learned(40)
        assert wait_for(lambda: client.ask("eve")[1] == "gpt-4o-mini", 5.0)
        document = client.http.post(
            "/route",
            json={"model": "auto", "messages": [{"role": "user", "content": _PROMPT}]},
            headers={"authorization": "Bearer eve"},
        ).json()
        text = client.http.get("/metrics", headers={"authorization": "Bearer eve"}).text
    assert len(document["memory"]) == 12
    assert 'pulvinar_judgements_total{kind="client",result="learned"}' in text
    assert re.search(r"^pulvinar_cards_corrected [12]\.0$", text, re.MULTILINE)
    records = open_records(tmp_path)
    assert records is not None
    with records:
        corrected = [record for record in records.tail(200) if record.decision is not None and record.decision.memory]
        assert corrected
        replayer = Replayer(records, predictor)
        assert all(replayer.replay(record.decision).same for record in corrected if record.decision is not None)


@pytest.mark.parametrize(("learning", "votes"), [("observe", 4), ("off", 0)])
def test_without_apply_the_choice_stays_and_the_decision_names_no_memory(
    upstream: Upstream, tmp_path: Path, predictor: Predictor, learning: str, votes: int
) -> None:
    with _served(upstream, tmp_path, predictor, learning) as client:
        client.judge("ann", 4)
        assert client.has_learned(votes)
        assert client.ask("ann")[1] == "claude-opus-4-5"
    state = SqliteState(tmp_path / "state.sqlite")
    blobs = asyncio.run(state.blobs_after(0, "memory/"))
    state.close()
    assert sum(from_bytes(blob.content).votes for blob in blobs) == votes
    records = open_records(tmp_path)
    assert records is not None
    with records:
        assert all(record.decision.memory == "" for record in records.tail(50) if record.decision is not None)


def test_an_answer_that_a_key_judges_by_two_sources_counts_once(
    upstream: Upstream, tmp_path: Path, predictor: Predictor
) -> None:
    with _served(upstream, tmp_path, predictor, "observe") as client:
        id_, _ = client.ask("ann")
        for source in ("a", "b", "c"):
            client._post("/v1/feedback", "ann", {"id": id_, "value": 0, "source": source})
        assert client.has_learned(1)
        counts = client.gateway.metrics
        assert wait_for(lambda: 'kind="client",result="doubled"} 2.0' in exposed(counts), 5.0)
        assert client.votes() == 1


def test_a_prompt_that_comes_again_at_once_says_something_about_its_answer(
    upstream: Upstream, tmp_path: Path, predictor: Predictor
) -> None:
    with _served(upstream, tmp_path, predictor, "observe") as client:
        for _ in range(3):
            client.ask("ann", _PROMPT)
        assert client.has_learned(2)
        assert 'pulvinar_judgements_total{kind="implicit",result="learned"} 2.0' in _metrics(client)


def test_the_graders_of_a_policy_judge_whole_answers_and_streams(
    upstream: Upstream, tmp_path: Path, predictor: Predictor
) -> None:
    grader = RegexGrader("nothing that the upstream says")
    with _served(upstream, tmp_path, predictor, "observe", graders=(grader,)) as client:
        client.ask("ann")
        client.ask("bob", stream=True)
        assert client.has_learned(2)
        assert 'pulvinar_judgements_total{kind="grader",result="learned"} 2.0' in _metrics(client)
        assert wait_for(lambda: bool(client.gateway.drift.present()), 10.0)
        assert client.gateway.drift.present()["claude-opus-4-5"].judged == 2
        memory = client.gateway.memories.known()["claude-opus-4-5"]
        assert sorted(memory.tenants) == ["ann", "bob"]
        assert memory.view("ann", time.time()).means[0] < -0.1


def test_a_key_whose_requests_fail_a_grader_changes_nothing_for_others(
    upstream: Upstream, tmp_path: Path, predictor: Predictor
) -> None:
    with _served(upstream, tmp_path, predictor, "apply", graders=(RegexGrader("nothing"),)) as client:
        for _ in range(24):
            client.ask("ann")
        assert client.has_learned(24)
        view = client.gateway.memories.known()["claude-opus-4-5"].view("eve", time.time())
        assert (view.choice, view.means.any()) == (None, False)
        assert client.ask("eve")[1] == "claude-opus-4-5"


def _metrics(client: _Served) -> str:
    return exposed(client.gateway.metrics)
