"""Cooldowns of deployments that several gateways share: what one has found out, the others need not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from router.dispatch import Cooldown, QueueLimits
from router.dispatch.health import FAILURE, Evidence
from router.dispatch.pool.deployment import Deployment
from router.dispatch.pool.pool import DeploymentPool
from router.formats.quantities import Seconds
from router.gateway.cooldowns import COOLDOWNS, SharedCooldowns
from router.store.records.record import Record
from router.store.state.loss import SharedState
from router.store.state.protocol import StateError, StateStore
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from router.store.state.sqlite import SqliteState
from router.types import Attempt, Outcome
from tests.gateway.servers import gateway_server, make_card, upstream_server, wait_for
from tests.redis_server import needs_redis, redis_server, with_prefix

CARD = make_card("a", "http://127.0.0.1:1")
REFUSED = Evidence("cooldown", "provider")


class Process:
    """One gateway, as far as health goes."""

    def __init__(self, state: StateStore) -> None:
        self.pool = DeploymentPool(Cooldown(failures=1, share=1), QueueLimits())
        self.cooldowns = SharedCooldowns(self.pool, state, lambda: [CARD])

    @property
    def deployment(self) -> Deployment:
        return self.pool.deployments_of(CARD)[0]

    def fails(self, key: str, evidence: Evidence = FAILURE) -> None:
        slot = self.pool.begin(self.deployment, key)
        self.pool.record_failure(slot, evidence)
        self.pool.end(slot)
        self.notes(key)

    def notes(self, key: str) -> None:
        attempt = Attempt("a", self.deployment.name, 503, 1.0, "server")
        self.cooldowns.sink(Record("r", 0.0, "chat", "auto", False, Outcome(503, 1.0, attempts=(attempt,)), key))

    def succeeds(self, key: str) -> None:
        slot = self.pool.begin(self.deployment, key)
        self.pool.record_success(slot)
        self.pool.end(slot)

    def avoids(self, key: str) -> bool:
        return bool(self.pool.cooling_down(key))


def exchange(*processes: Process) -> None:
    for _ in range(2):
        for process in processes:
            asyncio.run(process.cooldowns.refresh())


@pytest.fixture
def state(tmp_path: Path) -> SqliteState:
    return SqliteState(tmp_path / "state.sqlite")


@pytest.fixture
def two(state: SqliteState) -> tuple[Process, Process]:
    return Process(state), Process(state)


def test_what_the_provider_is_to_blame_for_concerns_all_keys_of_all_gateways(two: tuple[Process, Process]) -> None:
    here, there = two
    here.fails("ann", REFUSED)
    exchange(here, there)
    assert there.avoids("ann")
    assert there.avoids("bob")


def test_what_the_requests_of_a_key_may_have_caused_concerns_that_key_alone(two: tuple[Process, Process]) -> None:
    here, there = two
    here.fails("ann", Evidence("failure", "request"))
    exchange(here, there)
    assert there.avoids("ann")
    assert not there.avoids("bob")


def test_what_two_keys_met_at_one_gateway_concerns_all_keys_at_the_others(two: tuple[Process, Process]) -> None:
    here, there = two
    here.fails("ann")
    here.fails("bob")
    assert here.avoids("eve")
    exchange(here, there)
    assert there.avoids("eve")


def test_a_pause_that_a_server_asks_for_is_kept_by_all(two: tuple[Process, Process]) -> None:
    here, there = two
    here.fails("ann", Evidence("pause", "provider", 60.0))
    exchange(here, there)
    unready = there.pool.health_of(there.deployment).unready(there.deployment.limits, time.monotonic(), "bob")
    assert unready is not None
    assert unready.kind == "rate_limited"
    assert 50 < unready.seconds <= 60


def test_a_success_ends_the_cooldown_everywhere(two: tuple[Process, Process]) -> None:
    here, there = two
    here.fails("ann", REFUSED)
    exchange(here, there)
    here.succeeds("ann")
    exchange(here, there)
    assert not there.avoids("ann")
    assert not there.avoids("bob")


def test_a_success_of_a_key_ends_its_cooldown_also_after_one_of_all_keys_has_ended(state: SqliteState) -> None:
    here, there = Process(state), Process(state)
    here.fails("ann", REFUSED)
    exchange(here, there)
    here.succeeds("ann")
    exchange(here, there)
    here.fails("bob", Evidence("failure", "request"))
    exchange(here, there)
    assert there.avoids("bob")
    here.succeeds("bob")
    exchange(here, there)
    assert not there.avoids("bob")


def test_an_applied_cooldown_is_not_published_again(two: tuple[Process, Process], state: SqliteState) -> None:
    here, there = two
    here.fails("ann", REFUSED)
    exchange(here, there)
    published = asyncio.run(state.blobs_after(0, COOLDOWNS))
    there.notes("ann")
    exchange(here, there)
    assert asyncio.run(state.blobs_after(0, COOLDOWNS)) == published


def test_a_gateway_that_starts_later_knows_it_too(state: SqliteState) -> None:
    here = Process(state)
    here.fails("ann", REFUSED)
    exchange(here)
    late = Process(state)
    exchange(late)
    assert late.avoids("bob")


def test_a_server_of_another_address_is_another_server(state: SqliteState) -> None:
    here, elsewhere = Process(state), Process(state)
    other = make_card("a", "http://127.0.0.1:2")
    elsewhere.cooldowns = SharedCooldowns(elsewhere.pool, state, lambda: [other])
    here.fails("ann", REFUSED)
    exchange(here, elsewhere)
    assert not elsewhere.pool.cooling_down("ann")


def test_a_state_that_has_lost_its_data_gets_it_again(tmp_path: Path) -> None:
    stores = [SqliteState(tmp_path / name) for name in ("first", "second")]
    here = Process(stores[0])
    here.fails("ann", REFUSED)
    exchange(here)
    late = Process(stores[1])
    here.cooldowns = SharedCooldowns(here.pool, stores[1], lambda: [CARD])
    here.fails("ann", REFUSED)
    exchange(here, late)
    assert late.avoids("bob")


def test_without_the_state_each_gateway_knows_what_it_met_itself(state: SqliteState) -> None:
    class Lost(SqliteState):
        async def blobs_after(self, version: int, prefix: str) -> tuple[()]:
            raise StateError("lost")

    here, there = Process(Lost()), Process(state)
    here.fails("ann", REFUSED)
    exchange(here, there)
    assert here.avoids("bob")
    assert not there.avoids("bob")


@needs_redis
def test_a_second_gateway_on_redis_does_not_call_what_the_first_one_found_dead() -> None:
    rules = SharedState(timeout_s=Seconds(10))

    def new_state(url: str) -> RedisState:
        return RedisState(read_url(url), hold_s=30.0, rules=lambda: rules)

    with redis_server() as redis, upstream_server() as upstream:
        url = with_prefix(redis.url)
        # The port is closed.
        cards = make_card("dead", "http://127.0.0.1:9/v1", price=0.1), make_card("alive", upstream.url)
        states = [new_state(url), new_state(url)]
        with (
            gateway_server(*cards, state=states[0], remote=states[0]) as first,
            gateway_server(*cards, state=states[1], remote=states[1]) as second,
        ):
            ask = {"model": "dead", "messages": [{"role": "user", "content": "hello"}]}
            httpx.post(f"{first}/v1/chat/completions", json=ask, trust_env=False)

            def is_known() -> bool:
                cards = httpx.get(f"{second}/dashboard/api/cards", trust_env=False).json()["cards"]
                dead = next(each for each in cards if each["id"] == "dead")
                return dead["deployments"][0]["state"] == "cooling_down"

            assert wait_for(is_known, 8)
