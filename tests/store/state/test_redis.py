"""Real Redis servers that are killed, paused, slow, full or not there yet, and a cluster of three."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.errors import BudgetError, RateLimitError
from router.formats.quantities import Seconds
from router.store.state.loss import LossRules, SharedState
from router.store.state.protocol import Claim, LastAnswer, Reservation, StateError, TrialCounts
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from tests.redis_server import RedisServer, free_port, is_whole, needs_redis, redis_cluster, redis_server, with_prefix

pytestmark = needs_redis
SHARE = LossRules(budgets="share")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@asynccontextmanager
async def opened(
    url: str, on_loss: LossRules = SHARE, replicas: int | None = 2, **more: Any
) -> AsyncIterator[RedisState]:
    timeout_s = Seconds(more.pop("timeout_s", 1.0))
    rules = SharedState(on_loss=on_loss, replicas=replicas, timeout_s=timeout_s)
    state = RedisState(read_url(url), hold_s=60.0, rules=lambda: rules, **more)
    try:
        yield state
    finally:
        await state.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def back(state: RedisState) -> None:
    await until(lambda: state.report().reachable)


async def accepted(state: RedisState, rpm: int, count: int) -> int:
    """How many of `count` requests of one moment are within the rate.

    With times of their own, those that overtake earlier ones on the way to the server would cost these their place.
    """
    now_s = time.time()
    results = await asyncio.gather(
        *(state.take_request("ci", rpm, now_s) for _ in range(count)), return_exceptions=True
    )
    assert all(result is None or isinstance(result, RateLimitError) for result in results)
    return results.count(None)


async def reserved(state: RedisState, usd: float, budget_usd: float = 1.0) -> Reservation:
    return await state.reserve(Claim("ci", budget_usd, usd), time.time())


async def spent(state: RedisState) -> float:
    return await state.spent_usd("ci", time.time())


async def turns_during(call: Awaitable[Any]) -> tuple[int, Any]:
    """How often the event loop turned while the call ran, and its result or error."""
    task, turns = asyncio.ensure_future(call), 0
    while not task.done():
        await asyncio.sleep(0.01)
        turns += 1
    return turns, task.exception() or task.result()


def test_a_gateway_that_starts_before_the_server_uses_it_once_it_is_there(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), replicas=None) as state:
            # How many gateways there are is unknown, so no part of a limit is known either.
            with pytest.raises(StateError, match="the shared state does not respond"):
                await state.take_request("ci", 3, time.time())
            assert state.problem is not None
            server.start()
            await back(state)
            assert state.problem is None
            assert await accepted(state, 3, 5) == 3

    server.kill()
    asyncio.run(main())


def test_without_the_server_a_gateway_uses_its_part_of_a_rate(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url)) as state:
            await state.renew(time.time())
            server.kill()
            assert await accepted(state, 10, 12) == 5
            assert await accepted(state, 10, 2) == 0
            assert state.report().alone == 14
            assert state.report().denied == ()

    asyncio.run(main())


def test_the_parts_are_those_of_the_processes_that_were_last_seen(server: RedisServer) -> None:
    async def main() -> None:
        url = with_prefix(server.url)
        async with (
            opened(url, replicas=None) as one,
            opened(url, replicas=None) as two,
            opened(url, replicas=None) as three,
        ):
            for state in (three, two, one):
                await state.renew(time.time())
            server.kill()
            assert await accepted(one, 9, 9) == 3

    asyncio.run(main())


def test_a_gateway_that_closes_is_no_longer_counted(server: RedisServer) -> None:
    async def main() -> None:
        url = with_prefix(server.url)
        async with opened(url, replicas=None) as one:
            async with opened(url, replicas=None) as two:
                await two.renew(time.time())
                await one.renew(time.time())
                assert one.report().share == 0.5
            await one.renew(time.time())
            assert one.report().share == 1

    asyncio.run(main())


def test_budgets_are_refused_by_default_while_rates_are_shared(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules()) as state:
            settled_later = await reserved(state, 0.5)
            server.kill()
            with pytest.raises(StateError):
                await reserved(state, 0.1)
            await state.take_request("ci", 10, time.time())
            assert state.report().denied == ("budgets",)
            assert state.problem == "the shared state does not respond; refused meanwhile: budgets"
            # A request that was accepted before ends as usual.
            await state.settle(settled_later, 0.25)
            assert state.report().waiting
            server.start()
            await back(state)
            assert await spent(state) == 0.25
            assert not state.report().waiting

    asyncio.run(main())


def test_rates_that_shall_be_refused_are(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules(rate_limits="deny")) as state:
            server.kill()
            with pytest.raises(StateError):
                await state.take_request("ci", 10, time.time())
            assert state.report().denied == ("rate_limits", "budgets")

    asyncio.run(main())


def test_without_the_server_a_gateway_spends_its_part_of_what_was_left_and_reports_it(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url)) as state:
            await state.settle(await reserved(state, 0.4), 0.4)
            running = await reserved(state, 0.1)
            server.kill()
            # Half of 0.6$.
            first = await reserved(state, 0.2)
            with pytest.raises(
                BudgetError, match=r"the part of this gateway, 0\.3\$, is spent or reserved"
            ) as rejected:
                await reserved(state, 0.2)
            assert not rejected.value.is_spent
            await state.settle(first, 0.15)
            second = await reserved(state, 0.15)
            server.start()
            await back(state)
            # Not only what has ended, also the requests that still run.
            with pytest.raises(BudgetError):
                await reserved(state, 0.4)
            await state.settle(second, 0.125)
            await state.settle(running, 0.1)
            assert await spent(state) == pytest.approx(0.4 + 0.15 + 0.125 + 0.1)

    asyncio.run(main())


def test_a_server_that_has_lost_its_data_gets_back_what_a_gateway_knows(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules()) as state:
            await state.settle(await reserved(state, 0.5), 0.5)
            running = await reserved(state, 0.25)
            server.kill()
            with pytest.raises(StateError):
                await reserved(state, 0.1)
            server.start()
            await back(state)
            with pytest.raises(BudgetError, match=r"0\.5\$ spent, 0\.25\$ reserved"):
                await reserved(state, 0.3)
            await state.settle(running, 0.125)
            assert await spent(state) == 0.625

    asyncio.run(main())


def test_the_event_loop_runs_while_the_server_is_paused_and_calls_end_in_time(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules()) as state:
            await reserved(state, 0.0)
            with server.paused():
                turns, error = await turns_during(reserved(state, 1.0))
                assert isinstance(error, StateError)
                assert turns > 5
                # From now on they fail at once.
                with pytest.raises(StateError):
                    await reserved(state, 1.0)
            await back(state)
            # The server has carried out what it was sent before the pause, though nobody waited any more.
            await state.renew(time.time())
            await reserved(state, 1.0)

    asyncio.run(main())


def test_a_reservation_that_arrives_after_it_was_taken_back_has_no_effect(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules()) as state:
            late = Reservation(7, "ci", int(time.time() // 86_400), 10**9)
            state._undo(late)
            await state.renew(time.time())
            arguments = (7, late.day, 10**9, 10**9, 10**9, 10**9, time.time(), time.time() + 60, 0, 0)
            from router.store.state.redis.scripts import RESERVE

            await state._connection.run(RESERVE, state._budget("ci"), *arguments)
            await reserved(state, 1.0)

    asyncio.run(main())


def test_a_restart_of_the_server_that_is_quick_is_waited_for(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules(), timeout_s=10.0) as state:
            server.kill()
            with pytest.raises(StateError):
                await reserved(state, 0.1)
            waiting = asyncio.create_task(reserved(state, 0.1))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            server.start()
            await waiting

    asyncio.run(main())


def test_a_slow_server_is_waited_for_within_the_time_limit(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), timeout_s=5.0) as state:
            await state.take_request("ci", 10, time.time())
            server.command("CLIENT", "PAUSE", "200", "ALL")
            turns, result = await turns_during(accepted(state, 3, 5))
            assert result in (2, 3)
            assert turns > 3
            assert not state.report().alone

    asyncio.run(main())


def test_connections_that_the_server_has_closed_are_replaced_without_a_failure(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url)) as state:
            assert await accepted(state, 5, 3) == 3
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.05)
            assert await accepted(state, 5, 3) == 2
            assert not state.report().failures

    asyncio.run(main())


def test_a_server_that_was_started_again_learns_the_scripts(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url)) as state:
            assert await accepted(state, 5, 1) == 1
            server.command("SCRIPT", "FLUSH")
            assert await accepted(state, 5, 1) == 1
            assert not state.report().failures

    asyncio.run(main())


def test_a_full_server_is_one_that_does_not_respond(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules()) as state:
            server.command("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StateError):
                await reserved(state, 0.1)
            await asyncio.sleep(0.2)
            assert not state.report().reachable
            server.command("CONFIG", "SET", "maxmemory", "0")
            await back(state)
            await reserved(state, 0.1)

    asyncio.run(main())


def test_conversations_of_this_gateway_continue_and_others_are_unknown(server: RedisServer) -> None:
    async def main() -> None:
        url, now_s = with_prefix(server.url), time.time()
        async with opened(url) as one, opened(url) as two:
            await one.remember("mine", LastAnswer("small"), now_s, "a")
            await two.remember("other", LastAnswer("large"), now_s, "a")
            assert await one.last_answer("other", now_s, "a") == LastAnswer("large")
            server.kill()
            assert await one.last_answer("mine", now_s, "a") == LastAnswer("small")
            with pytest.raises(StateError) as unknown:
                await one.last_answer("other", now_s, "a")
            assert not unknown.value.denies
            await one.remember("new", LastAnswer("small"), now_s, "a")
            server.start()
            await back(one)
            await one.renew(now_s)
            assert await two.last_answer("new", now_s, "a") == LastAnswer("small")

    asyncio.run(main())


def test_an_answer_that_is_written_late_replaces_no_newer_one_of_this_or_another_gateway(server: RedisServer) -> None:
    async def main() -> None:
        url, now_s = with_prefix(server.url), time.time()
        async with opened(url) as one, opened(url) as two:
            server.kill()
            for session in ("mine", "theirs", "alone"):
                await one.remember(session, LastAnswer("late"), now_s, "a")
            server.start()
            await back(one)
            await one.remember("mine", LastAnswer("newer"), now_s + 10, "a")
            await two.remember("theirs", LastAnswer("newer"), now_s + 10, "a")
            await one.renew(now_s + 20)
            found = [await two.last_answer(session, now_s + 20, "a") for session in ("mine", "theirs", "alone")]
            assert found == [LastAnswer("newer"), LastAnswer("newer"), LastAnswer("late")]

    asyncio.run(main())


def test_of_two_late_answers_the_newer_one_is_written(server: RedisServer) -> None:
    async def main() -> None:
        url, now_s = with_prefix(server.url), time.time()
        async with opened(url) as one, opened(url) as two:
            await one.remember("mine", LastAnswer("first"), now_s, "a")
            server.pause()
            await one.remember("mine", LastAnswer("second"), now_s + 10, "a")
            await one.remember("mine", LastAnswer("third"), now_s + 20, "a")
            server.resume()
            await back(one)
            await one.renew(now_s + 30)
            await one.renew(now_s + 30)
            assert await two.last_answer("mine", now_s + 30, "a") == LastAnswer("third")

    asyncio.run(main())


def test_conversations_that_shall_be_refused_are(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url), LossRules(conversations="deny")) as state:
            await state.remember("mine", LastAnswer("small"), time.time())
            server.kill()
            with pytest.raises(StateError) as refused:
                await state.last_answer("mine", time.time())
            assert refused.value.denies
            assert "conversations" in state.report().denied

    asyncio.run(main())


def test_the_names_of_conversations_are_not_sent_to_the_server(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(server.url)) as state:
            await state.remember("alice@example.com", LastAnswer("small"), time.time(), "team")

    asyncio.run(main())
    assert b"talk:" in (keys := server.command("KEYS", "*"))
    assert b"alice" not in keys


def test_everything_that_a_conversation_and_a_rate_need_is_forgotten_by_itself(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(url) as state:
            await state.remember("talk", LastAnswer("small"), time.time())
            await state.take_request("ci", 10, time.time())
            await state.settle(await reserved(state, 0.1), 0.1)
            await state.renew(time.time())
            await reserved(state, 0.1)

    url = with_prefix(server.url)
    asyncio.run(main())
    keys = [key for key in server.command("KEYS", "*").decode().split("\r\n") if ":" in key]
    assert len(keys) >= 5
    assert [key for key in keys if int(server.command("TTL", key)[1:]) < 0] == []


def test_a_password_is_sent_and_never_shown(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        right = server.url.replace("://", "://:sesame@")
        async with opened(with_prefix(right)) as state:
            assert await accepted(state, 5, 1) == 1
        async with opened(with_prefix(right.replace("sesame", "SECRET")), LossRules()) as state:
            with pytest.raises(StateError):
                await reserved(state, 0.1)

    server.command("CONFIG", "SET", "requirepass", "sesame")
    asyncio.run(main())
    assert "does not respond" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_server_is_reached_by_its_unix_socket(server: RedisServer) -> None:
    async def main() -> None:
        async with opened(with_prefix(f"unix://{server.folder}/redis.sock")) as state:
            assert await accepted(state, 2, 3) == 2

    asyncio.run(main())


def test_a_store_can_be_closed_from_another_thread(server: RedisServer) -> None:
    async def main() -> None:
        rules = SharedState()
        state = RedisState(read_url(with_prefix(server.url)), hold_s=60.0, rules=lambda: rules)
        await state.take_request("ci", 1, time.time())
        await asyncio.to_thread(state.close)

    asyncio.run(main())
    assert b"name=pulvinar" not in server.command("CLIENT", "LIST")


# A cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[RedisServer, ...]]:
    with redis_cluster() as servers:
        yield servers


def url_of(servers: tuple[RedisServer, ...]) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return with_prefix(f"redis+cluster://{hosts}")


def test_a_cluster_keeps_limits_conversations_and_trials_of_many_keys(cluster: tuple[RedisServer, ...]) -> None:
    async def main() -> None:
        now_s = time.time()
        async with opened(url_of(cluster[:1]), timeout_s=5.0) as state:
            for number in range(30):
                key = f"key-{number}"
                await state.take_request(key, 1, now_s)
                with pytest.raises(RateLimitError):
                    await state.take_request(key, 1, now_s)
                await state.settle(await state.reserve(Claim(key, 1.0, 0.75), now_s), 0.5)
                with pytest.raises(BudgetError):
                    await state.reserve(Claim(key, 1.0, 0.75), now_s)
                await state.remember("talk", LastAnswer(key), now_s, key)
                assert await state.last_answer("talk", now_s, key) == LastAnswer(key)
            await state.renew(now_s)
            counts = await state.count_trial(("new", "old"), is_new=True, is_bad=True)
            assert await state.trials() == (counts,) == (TrialCounts("new", "old", 1, 1),)
            await state.restart_trial(("new", "old"))
            assert not state.report().failures

    asyncio.run(main())
    # Each has a part of the keys.
    assert all(int(server.command("DBSIZE")[1:]) > 10 for server in cluster)


def test_a_cluster_of_which_a_node_is_killed_is_lost_and_comes_back_with_it(cluster: tuple[RedisServer, ...]) -> None:
    async def main() -> None:
        async with opened(url_of(cluster), LossRules(), timeout_s=5.0) as state:
            await state.renew(time.time())
            cluster[1].kill()
            claims = [Claim(f"key-{number}", 1e6, 0.1) for number in range(20)]
            calls = (state.reserve(claim, time.time()) for claim in claims)
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert any(isinstance(result, StateError) for result in results)
            cluster[1].start()
            await until(lambda: all(is_whole(server) for server in cluster))
            await back(state)
            for claim in claims:
                await state.reserve(claim, time.time())

    asyncio.run(main())


def test_a_cluster_without_a_reachable_node_is_one_that_does_not_respond() -> None:
    async def main() -> None:
        async with opened(f"redis+cluster://127.0.0.1:{free_port()}", LossRules(), replicas=1) as state:
            now_s = time.time()
            await state.take_request("ci", 1, now_s)
            with pytest.raises(RateLimitError):
                await state.take_request("ci", 1, now_s)
            with pytest.raises(StateError):
                await state.trials()
            assert not state.report().reachable

    asyncio.run(main())
