"""Two gateways that share a real Redis, each with records of its own, learn as one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from router.decide.trials.spec import ArmSpec, ExperimentSpec
from router.gateway.app import make_app
from router.gateway.config.reload import ActiveConfig, ConfigReloader
from router.gateway.config.sources import Sources
from router.gateway.worker import Gateway
from router.perceive.predictor import Predictor
from router.store import open_store
from router.store.backend import FolderBackend, StateUse
from router.store.records.journal import Journal
from tests.gateway.learning.conftest import NOWHERE, active_with
from tests.gateway.servers import Upstream, served, wait_for
from tests.redis_server import needs_redis, redis_server, with_prefix

_PROMPT = "Prove that the square root of two is irrational, and name every lemma that you use."
_EXPERIMENT = ExperimentSpec(
    "opus-or-mini", (ArmSpec(policy="default"), ArmSpec(card="gpt-4o-mini")), by="conversation"
)


class _One(NamedTuple):
    gateway: Gateway
    http: httpx.Client

    def post(self, path: str, key: str, body: dict[str, object]) -> httpx.Response:
        response = self.http.post(path, json=body, headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 200, response.text
        return response


def _always(active: ActiveConfig, _: object) -> ActiveConfig:
    return active


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture
def pair(
    upstream: Upstream, tmp_path: Path, predictor: Predictor, redis_url: str
) -> Iterator[Callable[..., tuple[_One, _One]]]:
    """Starts two gateways with the same files."""
    with ExitStack() as stack:

        def start(**policy: object) -> tuple[_One, _One]:
            url, both = with_prefix(redis_url), []
            for name in ("one", "two"):
                folder = tmp_path / name
                folder.mkdir()
                active = active_with(predictor, upstream.url, "apply", **policy)
                state = open_store(str(folder), state=url).shared_state(StateUse())
                gateway = Gateway(
                    ConfigReloader(functools.partial(_always, active), Sources(*[NOWHERE] * 5)),
                    state=state,
                    journal=Journal.open(folder, interval_s=0.01),
                    backend=FolderBackend(folder),
                )
                base = stack.enter_context(served(make_app(gateway)))
                client = stack.enter_context(httpx.Client(base_url=base, trust_env=False))
                both.append(_One(gateway, client))
            return both[0], both[1]

        yield start


@needs_redis
def test_what_one_gateway_learns_changes_the_choice_of_the_other(pair: Callable[..., tuple[_One, _One]]) -> None:
    numbers = itertools.count()

    def ask(one: _One, key: str) -> tuple[str, str]:
        content = f"{_PROMPT} {next(numbers)}"
        answer = one.post(
            "/v1/chat/completions", key, {"model": "auto", "messages": [{"role": "user", "content": content}]}
        )
        return answer.headers["x-request-id"], answer.headers["x-route-card"]

    first, second = pair()
    assert ask(second, "eve")[1] == "claude-opus-4-5"
    # Each gateway hears one of the keys: alone, neither would change anything for others.
    for _ in range(20):
        for one, key in ((first, "ann"), (second, "bob")):
            id_, card = ask(one, key)
            one.post("/v1/feedback", key, {"id": id_, "value": float(card == "gpt-4o-mini")})
    assert wait_for(lambda: ask(second, "eve")[1] == ask(first, "eve")[1] == "gpt-4o-mini", 20.0)
    body: dict[str, object] = {"model": "auto", "messages": [{"role": "user", "content": _PROMPT}]}

    def decided(one: _One) -> object:
        document = one.post("/route", "eve", body).json()
        return document["memory"], [(each["card"], each["quality"]) for each in document["candidates"]]

    assert wait_for(lambda: decided(first) == decided(second), 10.0)

    def judged(one: _One) -> dict[str, int]:
        return {card: drift.judged for card, drift in one.gateway.drift.present().items()}

    assert wait_for(lambda: sum(judged(first).values()) == 40 and judged(first) == judged(second), 10.0)


@needs_redis
def test_both_gateways_assign_the_same_arms_and_know_how_the_experiment_stands(
    pair: Callable[..., tuple[_One, _One]],
) -> None:
    first, second = pair(experiment=_EXPERIMENT)
    for number in range(12):
        body: dict[str, object] = {
            "model": "auto",
            "messages": [{"role": "user", "content": f"{_PROMPT} {number}"}],
            "route": {"session": f"conversation-{number}"},
        }
        arms = {one.post("/v1/chat/completions", "ann", body).headers["x-route-experiment"] for one in (first, second)}
        assert len(arms) == 1
    assert wait_for(lambda: first.gateway.experiments.standings() == second.gateway.experiments.standings() != {}, 10.0)
