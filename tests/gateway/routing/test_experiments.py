"""Experiments in a running gateway: sticky arms, records, the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import numpy as np

from router.analysis.experiments.standing import PREFIX, Standing, write
from router.cards import Catalog
from router.decide.policy import Policies, Policy
from router.decide.trials.spec import ArmSpec, ExperimentSpec, StopRule
from router.gateway.app import make_app
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.config.reload import ActiveConfig
from router.gateway.routing.trials.experiments import Experiments
from router.gateway.worker import Gateway
from router.pipeline import Router
from router.store.records.feedback import Feedback
from router.store.records.sqlite import SqliteRecords
from router.store.records.sqlite_feedback import SqliteFeedback
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from router.trials import ExperimentChoice
from tests.gateway.servers import IndifferentPredictor, MemoryJournal, Upstream, make_card, make_gateway, served
from tests.gateway.telemetry.records import DECISION, a_record

SPEC = ExperimentSpec("dear-or-cheap", (ArmSpec(policy="default"), ArmSpec(card="dear")), outcomes=1)
BODY = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
NAMES = tuple(f"key-{number}" for number in range(24))


def router_with(upstream_url: str, spec: ExperimentSpec = SPEC) -> Router:
    cards = [make_card("cheap", upstream_url, price=1.0), make_card("dear", upstream_url, price=9.0)]
    policy = Policy(id="default", description="Cheap.", goals={"cheapest": 1.0}, headers="on", experiment=spec)
    return Router(Catalog(cards), Policies([policy]), IndifferentPredictor())  # type: ignore[arg-type]


def keys_for(router: Router, **narrow: Any) -> Keys:
    keys = [Key(id=name, hash=hash_of(name)) for name in NAMES]
    return Keys([*keys, Key(id="narrow", hash=hash_of("narrow"), **narrow)], router.catalog.ids)


@contextlib.contextmanager
def running(upstream: Upstream, **parts: Any) -> Iterator[tuple[httpx.Client, Gateway, MemoryJournal]]:
    log, router = MemoryJournal(), router_with(upstream.url)
    gateway = make_gateway(router, keys=keys_for(router, cards=("cheap",)), journal=log, **parts)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client, gateway, log


def ask(client: httpx.Client, key: str, path: str = "/v1/chat/completions") -> httpx.Response:
    response = client.post(path, json=BODY, headers={"authorization": f"Bearer {key}"})
    assert response.status_code == 200, response.text
    return response


def test_each_key_has_one_arm_which_records_headers_and_the_dry_run_name(upstream: Upstream) -> None:
    with running(upstream) as (client, _, log):
        answers = [ask(client, name) for name in NAMES]
        again = [ask(client, name).headers["x-route-experiment"] for name in NAMES]
        dry = ask(client, NAMES[0], "/route").json()
        metrics = client.get("/metrics", headers={"authorization": f"Bearer {NAMES[0]}"}).text
    arms = [answer.headers["x-route-experiment"].removeprefix("dear-or-cheap/") for answer in answers]
    assert set(arms) == {"default", "dear"}
    assert [f"dear-or-cheap/{arm}" for arm in arms] == again
    assert [answer.headers["x-route-card"] == "dear" for answer in answers] == [arm == "dear" for arm in arms]
    recorded = [record.decision.experiment for record in log.records[: len(NAMES)] if record.decision is not None]
    assert recorded == [ExperimentChoice("dear-or-cheap", arm, SPEC.version) for arm in arms]
    assert dry["experiment"]["arm"] == arms[0]
    assert 'pulvinar_experiment_requests_total{arm="dear",experiment="dear-or-cheap"}' in metrics


def test_a_key_that_may_not_use_an_arm_is_part_of_no_experiment(upstream: Upstream) -> None:
    with running(upstream) as (client, _, log):
        answer = ask(client, "narrow")
    assert "x-route-experiment" not in answer.headers
    assert [record.outcome.card for record in log.records] == ["cheap"]


def test_after_its_end_all_requests_go_where_it_says(upstream: Upstream) -> None:
    state = SqliteState()
    standing = Standing(SPEC.version, "default", "feedback", "key", ("default", "dear"), 1.0, 1.0, (), (), 2.0, "dear")
    asyncio.run(state.swap_blob(Blob(f"{PREFIX}{SPEC.name}", 0, write(standing)), 1.0))
    with running(upstream, state=state) as (client, gateway, log):
        for name in NAMES[:6]:
            assert "x-route-experiment" not in ask(client, name).headers
        assert gateway.experiments.stopped == 1
    assert {record.outcome.card for record in log.records} == {"dear"}


def active_with(spec: ExperimentSpec = SPEC) -> ActiveConfig:
    router = router_with("http://127.0.0.1:9", spec)
    return make_gateway(router, keys=keys_for(router)).reloader.current


def fill(folder: Path, difference: float) -> None:
    """Records and feedback of 400 keys, of which those in the arm `dear` judge better by this much."""
    rng = np.random.default_rng(1)
    with SqliteRecords.open(folder) as records:
        arms = ["dear" if rng.random() < 0.5 else "default" for _ in range(400)]
        for number, arm in enumerate(arms):
            decision = msgspec.structs.replace(DECISION, experiment=ExperimentChoice(SPEC.name, arm, SPEC.version))
            records.add([a_record(id=f"r{number}", at=100.0, key=f"k{number}", decision=decision)], 100.0)
    with SqliteFeedback.open(folder) as feedback:
        for number, arm in enumerate(arms):
            value = float(rng.random() < (0.5 + difference if arm == "dear" else 0.5))
            feedback.add(Feedback(f"r{number}", value, 100.0 + number, key=f"k{number}"))


def checked(folder: Path, then: Literal["control", "winner"]) -> tuple[Experiments, Experiments, list[str]]:
    """Two workers, of which the first has looked at the outcomes; and the lines for the operator."""
    active = active_with(msgspec.structs.replace(SPEC, stop=StopRule(then=then)))
    state, lines = SqliteState(), list[str]()

    def worker() -> Experiments:
        return Experiments(
            state, lambda: active, lambda: SqliteRecords.open(folder, read_only=True), lambda: 100.0, lines.append
        )

    first, second = worker(), worker()

    async def check() -> None:
        await first.check()
        await second.refresh()
        await second.check()

    asyncio.run(check())
    return first, second, lines


def test_an_experiment_ends_once_a_difference_is_certain_and_all_workers_follow(tmp_path: Path) -> None:
    fill(tmp_path, 0.3)
    _, second, lines = checked(tmp_path, "winner")
    standing = second.standings()[SPEC.name]
    assert (standing.goes_to, second.stopped) == ("dear", 1)
    assert len(lines) == 1
    assert lines[0].startswith(
        "experiment dear-or-cheap has ended, all requests go to dear: dear is better than default: feedback +0."
    )


def test_the_first_arm_is_kept_unless_the_operator_asked_for_the_winner(tmp_path: Path) -> None:
    fill(tmp_path, 0.3)
    assert checked(tmp_path, "control")[0].standings()[SPEC.name].goes_to == "default"


def test_an_experiment_without_a_difference_goes_on_and_shows_what_is_known(tmp_path: Path) -> None:
    fill(tmp_path, 0.0)
    first, _, lines = checked(tmp_path, "winner")
    standing = first.standings()[SPEC.name]
    assert (standing.stopped_s, lines) == (None, [])
    assert sum(arm.units for arm in standing.arms) == 400
    (difference,) = standing.differences
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < 0 < difference.high


def test_with_other_arms_or_another_salt_an_experiment_begins_anew(tmp_path: Path) -> None:
    fill(tmp_path, 0.3)
    salted = msgspec.structs.replace(SPEC, salt="again")
    active, state = active_with(salted), SqliteState()
    experiments = Experiments(
        state, lambda: active, lambda: SqliteRecords.open(tmp_path, read_only=True), lambda: 100.0, list[str]().append
    )
    asyncio.run(experiments.check())
    assert sum(arm.units for arm in experiments.standings()[SPEC.name].arms) == 0


def test_the_policy_of_an_arm_with_a_card_keeps_the_limits() -> None:
    active = active_with()
    limited = msgspec.structs.replace(active.router.policies["default"], limits=("cost<2$",))
    experiments = Experiments(SqliteState(), lambda: active, None)
    policies = [experiments.assigned(active, limited, key, "")[0] for key in active.keys]
    assert {policy.default for policy in policies if policy.limits == ("cost<2$",)} >= {"dear"}


def test_without_keys_each_conversation_has_an_arm(upstream: Upstream) -> None:
    log, router = MemoryJournal(), router_with(upstream.url)
    gateway = make_gateway(router, journal=log)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        for number in range(16):
            body = {"model": "auto", "messages": [{"role": "user", "content": f"prompt {number}"}]}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert {record.outcome.card for record in log.records} == {"cheap", "dear"}
