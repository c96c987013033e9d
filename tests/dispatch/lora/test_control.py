"""Adapters are loaded before they are called, against scripted servers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.cards import Card
from router.dispatch import Call
from router.dispatch.health import evidence_of_failure
from router.dispatch.lora.api import AdapterServerError
from router.dispatch.lora.control import AdapterControl
from router.dispatch.response import error_message
from tests.dispatch.calls import unused_address
from tests.dispatch.lora.cards import CHAT, Calls, at, make_cards
from tests.dispatch.lora.scripted import (
    BASE,
    ScriptedLlamaCpp,
    ScriptedLorax,
    ScriptedServer,
    ScriptedSglang,
    ScriptedVllm,
    running,
)

LOADING: list[tuple[str, Callable[[], Any]]] = [("vllm", ScriptedVllm), ("sglang", ScriptedSglang)]


def with_calls(cards: dict[str, Card], use: Callable[[Calls], Awaitable[Any]]) -> Any:
    """What `use` returns."""

    async def main() -> Any:
        async with Calls(cards) as calls:
            return await use(calls)

    return asyncio.run(main())


async def failing(calls: Calls, card: str) -> AdapterServerError:
    with pytest.raises(AdapterServerError) as raised:
        await calls.send(card)
    return raised.value


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_an_adapter_is_loaded_before_it_is_called(kind: str, make: Callable[[], Any]) -> None:
    async def use(calls: Calls) -> None:
        assert [await calls.text(card) for card in ("a", "base", "b", "a")] == ["a", BASE, "b", "a"]

    with running(server := make()):
        with_calls(make_cards(server.url, kind), use)
    assert (server.loads(), server.lazy_loads) == (2, 0)


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_a_hundred_calls_at_once_cause_one_load(kind: str, make: Callable[[], Any]) -> None:
    async def use(calls: Calls) -> None:
        assert await asyncio.gather(*(calls.text("a") for _ in range(100))) == ["a"] * 100

    with running(server := make()):
        server.load_s = 0.1
        with_calls(make_cards(server.url, kind), use)
    assert server.loads() == 1


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_another_adapter_is_unloaded_before_one_is_loaded_into_full_slots(kind: str, make: Callable[[], Any]) -> None:
    async def use(calls: Calls) -> list[str]:
        for card in ("a", "b", "a", "c"):
            await calls.text(card)
        return calls.held()

    with running(server := make()):
        held = with_calls(make_cards(server.url, kind), use)
    assert sorted(server.adapters) == held == ["a", "c"]
    changes = [path.rpartition("/")[2] for path, _ in server.asked if "lora_adapter" in path]
    assert changes == ["load_lora_adapter", "load_lora_adapter", "unload_lora_adapter", "load_lora_adapter"]
    assert server.lazy_loads == 0


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_an_adapter_in_use_is_not_unloaded_and_the_call_waits_for_its_end(kind: str, make: Callable[[], Any]) -> None:
    async def use(calls: Calls) -> None:
        holds = [await calls.control.hold(at(calls.cards[name])) for name in ("a", "b")]
        waiting = asyncio.create_task(calls.text("c"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert not calls.control.can_hold(at(calls.cards["c"]))
        assert calls.control.can_hold(at(calls.cards["a"]))
        holds[1].release()
        assert await waiting == "c"
        assert calls.held() == ["a", "c"]

    with running(server := make()):
        with_calls(make_cards(server.url, kind), use)
    assert server.lazy_loads == 0


def test_a_load_that_hangs_ends_at_its_limit_and_is_not_tried_again_at_once() -> None:
    async def use(calls: Calls) -> None:
        late = await failing(calls, "a")
        assert (late.problem, late.fault, late.status) == ("late", "adapter", 504)
        assert (await failing(calls, "a")).problem == "cooling_down"
        assert await calls.text("base") == BASE
        assert calls.held() == []

    with running(server := ScriptedVllm()):
        server.load_s = 30
        with_calls(make_cards(server.url, load_timeout_s=0.2), use)
    assert server.loads() == 1


def test_a_failed_load_says_nothing_of_the_other_adapters_of_the_server() -> None:
    async def use(calls: Calls) -> None:
        error = await failing(calls, "a")
        assert evidence_of_failure(error).health == "unchanged"
        assert [await calls.text(card) for card in ("b", "base")] == ["b", BASE]
        assert [server for server, name in calls.control.problems() if name == "a"] == [f"{server_url[0]}/v1"]

    with running(server := ScriptedVllm()):
        server_url = [server.url]
        with_calls(make_cards(server.url, paths={"a": "/absent"}), use)


def test_the_wait_after_a_failed_load_doubles_and_ends_with_a_success() -> None:
    clock = [0.0]

    async def tried_after(calls: Calls, seconds: float) -> bool:
        before = server.loads()
        clock[0] += seconds
        await failing(calls, "a")
        return server.loads() > before

    async def use(calls: Calls) -> None:
        calls.control._now_s = calls.control._loader._now_s = lambda: clock[0]
        assert [await tried_after(calls, seconds) for seconds in (0, 4, 2, 6, 5)] == [True, False, True, False, True]
        server.absent_paths.clear()
        clock[0] += 300
        assert await calls.text("a") == "a"
        server.adapters.clear()
        server.absent_paths.add("/absent")
        calls.control.lost(at(calls.cards["a"]))
        assert await tried_after(calls, 0)

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url, paths={"a": "/absent"}), use)


def test_the_server_where_an_adapter_failed_comes_last() -> None:
    async def use(calls: Calls) -> None:
        deployments = [at(calls.cards["a"], number) for number in (0, 1)]
        first = calls.control.order(calls.cards["a"], deployments, lambda _: 0)[0]
        servers[deployments.index(first)].absent_paths.add("/adapters/a")
        with pytest.raises(AdapterServerError):
            await calls.control.hold(first)
        second = calls.control.order(calls.cards["a"], deployments, lambda _: 0)[0]
        assert second is not first
        (await calls.control.hold(second)).release()

    servers = [ScriptedVllm(), ScriptedVllm()]
    with running(*servers):
        with_calls(make_cards([server.url for server in servers]), use)


def test_the_server_that_holds_an_adapter_comes_first() -> None:
    async def use(calls: Calls) -> None:
        deployments = [at(calls.cards["a"], number) for number in range(3)]
        (await calls.control.hold(deployments[2])).release()
        assert calls.control.order(calls.cards["a"], deployments, lambda _: 0)[0] is deployments[2]

    servers = [ScriptedVllm() for _ in range(3)]
    with running(*servers):
        with_calls(make_cards([server.url for server in servers]), use)


def test_cancelled_calls_do_not_end_a_load_that_others_wait_for() -> None:
    async def use(calls: Calls) -> None:
        tasks = [asyncio.create_task(calls.text("a")) for _ in range(10)]
        await asyncio.sleep(0.1)
        for task in tasks[:9]:
            task.cancel()
        assert await tasks[9] == "a"
        assert [each.uses for one in calls.control.status() for each in one.adapters] == [0]

    with running(server := ScriptedVllm()):
        server.load_s = 0.3
        with_calls(make_cards(server.url), use)
    assert server.loads() == 1


def test_a_load_that_nobody_waits_for_any_more_is_finished_and_counted() -> None:
    async def use(calls: Calls) -> None:
        task = asyncio.create_task(calls.text("a"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.sleep(0.4)
        assert calls.held() == ["a"]
        assert await calls.text("a") == "a"

    with running(server := ScriptedVllm()):
        server.load_s = 0.2
        with_calls(make_cards(server.url), use)
    assert server.loads() == 1


def test_a_call_waits_no_longer_than_it_has_time() -> None:
    async def use(calls: Calls) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(AdapterServerError) as raised:
            await calls.control.hold(at(calls.cards["a"]), Call("chat", {}, first_by_s=loop.time() + 0.1))
        assert raised.value.problem == "late"

    with running(server := ScriptedVllm()):
        server.load_s = 1
        with_calls(make_cards(server.url), use)


def test_what_a_server_held_before_is_not_loaded_again() -> None:
    async def use(calls: Calls) -> None:
        assert await calls.text("a") == "a"

    with running(server := ScriptedVllm()):
        server.adapters["a"] = "/adapters/a"
        with_calls(make_cards(server.url), use)
    assert server.loads() == 0


def test_an_earlier_version_of_an_adapter_is_replaced() -> None:
    async def use(calls: Calls) -> None:
        assert await calls.text("a") == "a"

    with running(server := ScriptedVllm()):
        server.adapters["a"] = "/adapters/a-of-yesterday"
        with_calls(make_cards(server.url), use)
    assert dict(server.adapters) == {"a": "/adapters/a"}


def test_an_edited_path_is_loaded_after_the_reload() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        calls.cards.update(make_cards(server.url, paths={"a": "/adapters/a-2"}))
        calls.control.configure(calls.cards.values())
        assert await calls.text("a") == "a"

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)
    assert dict(server.adapters) == {"a": "/adapters/a-2"}


@pytest.mark.parametrize(("kind", "make"), LOADING)
def test_an_earlier_version_takes_a_slot_until_it_is_unloaded_for_another_adapter(
    kind: str, make: Callable[[], Any]
) -> None:
    async def use(calls: Calls) -> None:
        assert [await calls.text(card) for card in ("b", "a")] == ["b", "a"]
        calls.cards.update(make_cards(server.url, kind, paths={"a": "/adapters/a-2"}))
        calls.control.configure(calls.cards.values())
        await calls.control.sweep()
        assert [each.state for one in calls.control.status() for each in one.adapters] == ["outdated", "loaded"]
        assert await calls.text("c") == "c"
        assert calls.held() == sorted(server.adapters) == ["b", "c"]

    with running(server := make()):
        with_calls(make_cards(server.url, kind), use)


def test_slots_that_others_have_filled_are_looked_at_once_and_used() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        # Another gateway.
        server.adapters["foreign"] = "/adapters/foreign"
        assert await calls.text("b") == "b"

    with running(server := ScriptedSglang(slots=2)):
        with_calls(make_cards(server.url, "sglang"), use)
    assert len(server.adapters) == 2


def test_a_server_that_restarted_is_asked_again_and_the_adapter_loaded_once() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        server.restart()
        response = await calls.send("a")
        assert response.status == 404
        assert "does not exist" in error_message(response)
        calls.control.lost(at(calls.cards["a"]))
        assert await asyncio.gather(*(calls.text("a") for _ in range(10))) == ["a"] * 10

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)
    assert server.loads() == 2


def test_a_sweep_notices_a_restart() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        server.restart()
        await calls.control.sweep()
        assert calls.held() == []
        assert await calls.text("a") == "a"

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_a_sweep_unloads_what_was_not_used_for_its_time() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        hold = await calls.control.hold(at(calls.cards["b"]))
        await asyncio.sleep(0.1)
        await calls.control.sweep()
        assert calls.held() == list(server.adapters) == ["b"]
        hold.release()

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url, ttl_s=0.05), use)


def test_a_sweep_notes_what_the_server_does() -> None:
    async def use(calls: Calls) -> None:
        await calls.control.sweep()
        (activity,) = calls.control.activity().values()
        assert activity.gpu_slots == 2

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_a_sweep_needs_no_metrics() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        server.restart()
        server.broken_paths.add("/metrics")
        await calls.control.sweep()
        assert (calls.held(), dict(calls.control.activity())) == ([], {})

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_a_sweep_of_a_server_that_is_down_is_no_error() -> None:
    async def use(calls: Calls) -> None:
        await calls.control.sweep()
        assert (await failing(calls, "a")).fault == "unreachable"

    with_calls(make_cards(unused_address()), use)


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_a_server_too_busy_to_list_its_adapters_is_called_all_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(calls: Calls) -> None:
        asked = [await calls.text("a")]
        server.list_s = 30
        monkeypatch.setattr("router.dispatch.lora.loading.LIST_S", 0.05)
        await calls.control.sweep()
        asked.append(await calls.text("a"))
        # After a restart its list is waited for.
        server.list_s = 0.2
        calls.control.lost(at(calls.cards["a"]))
        assert [*asked, await calls.text("a")] == asked[:1] * 3

    server: ScriptedServer = ScriptedVllm() if kind == "vllm" else ScriptedLlamaCpp("/adapters/a", "/adapters/b")
    facts: dict[str, Any] = {"slots": None, "lora_slots": ("a", "b"), "adapters": "ab"} if kind == "llama.cpp" else {}
    with running(server):
        with_calls(make_cards(server.url, kind, load_timeout_s=60, **facts), use)


def test_a_server_that_comes_back_at_once_is_used_at_once() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        server.restart()
        server.is_down = True
        calls.control.lost(at(calls.cards["a"]))
        assert (await failing(calls, "a")).problem == "unreachable"
        server.is_down = False
        assert await calls.text("a") == "a"

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_a_pinned_adapter_stays() -> None:
    async def use(calls: Calls) -> None:
        for card in ("a", "b", "c", "b", "c"):
            await calls.text(card)
        assert "a" in calls.held()

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url, pinned=("a",)), use)
    assert server.loads("a") == 1


def test_an_operator_loads_pins_and_unloads() -> None:
    async def use(calls: Calls) -> None:
        place = f"{server.url}/v1"
        await calls.control.load(place, "a")
        assert list(server.adapters) == ["a"]
        calls.control.pin(place, "a", True)
        for card in ("b", "c", "b", "c"):
            await calls.text(card)
        assert "a" in calls.held()
        calls.control.pin(place, "a", False)
        await calls.control.unload(place, "a")
        assert "a" not in server.adapters
        hold = await calls.control.hold(at(calls.cards["b"]))
        with pytest.raises(AdapterServerError) as raised:
            await calls.control.unload(place, "b")
        assert "a call uses it" in raised.value.detail
        hold.release()

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_an_operator_may_try_a_failed_adapter_again_at_once_and_so_does_an_edit_of_its_path() -> None:
    async def use(calls: Calls) -> None:
        place = f"{server.url}/v1"
        await failing(calls, "a")
        server.absent_paths.clear()
        assert (await failing(calls, "a")).problem == "cooling_down"
        await calls.control.load(place, "a")
        await calls.control.unload(place, "a")
        server.absent_paths.add("/absent")
        await failing(calls, "a")
        calls.cards.update(make_cards(server.url, paths={"a": "/adapters/a-2"}))
        calls.control.configure(calls.cards.values())
        assert await calls.text("a") == "a"
        assert dict(calls.control.problems()) == {}

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url, paths={"a": "/absent"}), use)


def test_what_failed_of_an_adapter_whose_card_is_removed_is_forgotten() -> None:
    async def use(calls: Calls) -> None:
        await failing(calls, "a")
        calls.control.configure(card for card in calls.cards.values() if card.id != "a")
        assert dict(calls.control.problems()) == {}

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url, paths={"a": "/absent"}), use)


def test_an_operator_who_loads_an_adapter_where_all_are_in_use_is_told_so_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(calls: Calls) -> None:
        holds = [await calls.control.hold(at(calls.cards[name])) for name in "ab"]
        monkeypatch.setattr("router.dispatch.lora.control._limit_s", lambda _: 0.05)
        with pytest.raises(AdapterServerError) as raised:
            await calls.control.load(f"{server.url}/v1", "c", pinned=True)
        monkeypatch.undo()
        assert raised.value.problem == "late"
        for hold in holds:
            hold.release()
        assert await calls.text("c") == "c"
        assert not any(each.pinned for one in calls.control.status() for each in one.adapters)

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_a_server_that_loads_by_itself_is_not_said_to_have_loaded_an_adapter() -> None:
    async def use(calls: Calls) -> None:
        with pytest.raises(AdapterServerError) as raised:
            await calls.control.load(f"{server.url}/v1", "a", pinned=True)
        assert raised.value.problem == "unsupported"
        assert calls.held() == []

    with running(server := ScriptedLorax()):
        with_calls(make_cards(server.url, "lorax"), use)


def test_two_gateways_never_give_a_server_more_adapters_than_it_has_slots() -> None:
    async def use(calls: Calls) -> None:
        async with Calls(calls.cards) as others:
            assert [await each.text(card) for each in (calls, others) for card in "ab"] == ["a", "b"] * 2
            for number in range(6):
                one, other = ("c", "a") if number % 2 else ("b", "d")
                assert (await calls.text(one), await others.text(other)) == (one, other)
                assert len(server.adapters) <= 2

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url, adapters="abcd"), use)
    assert server.lazy_loads == 0


def test_what_a_waiting_call_needs_is_loaded_ahead() -> None:
    async def use(calls: Calls) -> None:
        await calls.text("a")
        ticket = calls.control.expect(calls.cards["b"])
        await asyncio.sleep(0.1)
        assert list(server.adapters) == ["a", "b"]
        calls.control.forget(ticket)

    with running(server := ScriptedVllm()):
        with_calls(make_cards(server.url), use)


def test_an_unmanaged_server_is_asked_to_load_nothing() -> None:
    async def use(calls: Calls) -> None:
        assert [await calls.text(card) for card in ("a", "b", "c")] == ["a", "b", "c"]

    with running(server := ScriptedVllm(updating=False)):
        server.adapters.update({name: f"/elsewhere/{name}" for name in "abc"})
        with_calls(make_cards(server.url, manage=False), use)


def test_lorax_loads_what_a_request_names() -> None:
    async def use(calls: Calls) -> None:
        assert [await calls.text(card) for card in ("base", "a", "b", "c", "a")] == [
            BASE,
            "/adapters/a",
            "/adapters/b",
            "/adapters/c",
            "/adapters/a",
        ]
        assert len(calls.held()) == 2

    with running(server := ScriptedLorax()):
        with_calls(make_cards(server.url, "lorax"), use)
    assert set(server.adapters.values()) == {"local"}


def test_llama_cpp_is_never_answered_from_the_cache_of_another_adapter() -> None:
    async def use(calls: Calls) -> None:
        for card in ("base", "a", "base", "b", "a", "base"):
            expected = BASE if card == "base" else f"/adapters/{card}"
            assert await calls.text(card, lora=[{"id": 0, "scale": 1.0}]) == expected

    with running(server := ScriptedLlamaCpp("/adapters/b", "/adapters/a")):
        facts: dict[str, Any] = {"slots": None, "lora_slots": ("b", "a"), "adapters": "ab"}
        with_calls(make_cards(server.url, "llama.cpp", **facts), use)
    assert [path for path, _ in server.asked] == ["/lora-adapters"]


def test_a_stack_is_called_with_all_adapters_that_it_adds_up() -> None:
    async def use(calls: Calls) -> None:
        stack = msgspec.structs.replace(calls.cards["a"], id="both", lora=None, stack=("b", "a"))
        calls.cards["both"] = stack
        calls.control.configure(calls.cards.values())
        (await calls.control.hold(at(stack), Call("chat", CHAT))).release()
        assert calls.held() == ["a", "b"]

    with running(server := ScriptedLlamaCpp("/adapters/b", "/adapters/a")):
        facts: dict[str, Any] = {"slots": None, "lora_slots": ("b", "a"), "adapters": "ab"}
        with_calls(make_cards(server.url, "llama.cpp", **facts), use)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (("/adapters/a", "/adapters/b"), "position 0"),
        (("/adapters/b",), "1 adapters"),
        (("/x", "/y", "/z"), "3 adapters"),
    ],
)
@pytest.mark.parametrize("card", ["a", "base"])
def test_a_llama_cpp_with_other_adapters_than_the_card_states_is_not_called(
    paths: tuple[str, ...], words: str, card: str
) -> None:
    async def use(calls: Calls) -> None:
        assert words in (await failing(calls, card)).detail
        assert server.chats == []

    with running(server := ScriptedLlamaCpp(*paths)):
        facts: dict[str, Any] = {"slots": None, "lora_slots": ("b", "a"), "adapters": "ab"}
        with_calls(make_cards(server.url, "llama.cpp", **facts), use)


def test_a_card_without_adapters_needs_no_hold() -> None:
    plain = Card("plain", "hosted_vllm", "m", base_url=f"{unused_address()}/v1")

    async def use(calls: Calls) -> None:
        hold = await calls.control.hold(at(plain))
        hold.release()
        hold.release()
        deployments = [at(plain)]
        assert calls.control.order(plain, deployments, lambda _: 0) == deployments
        assert calls.control.can_hold(at(plain))

    with_calls({"plain": plain}, use)


@settings(max_examples=15, deadline=None)
@given(
    orders=st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=8), min_size=1, max_size=6),
    slots=st.integers(1, 3),
    kind=st.sampled_from(["vllm", "sglang"]),
)
def test_every_call_is_answered_by_its_adapter_and_no_server_is_overfilled(
    orders: list[list[str]], slots: int, kind: str
) -> None:
    server: ScriptedServer = ScriptedVllm(cpu_slots=slots) if kind == "vllm" else ScriptedSglang(slots=slots)
    server.chat_s = 0.002

    async def use(calls: Calls) -> None:
        async def client(cards: list[str]) -> list[str]:
            return [await calls.text(card) for card in cards]

        assert await asyncio.gather(*map(client, orders)) == orders
        assert all(each.uses == 0 for one in calls.control.status() for each in one.adapters)

    with running(server):
        with_calls(make_cards(server.url, kind, adapters="abcde", slots=slots), use)
    assert server.lazy_loads == 0
    assert server.most_at_once <= slots
    assert server.loads() <= sum(1 for _ in itertools.chain(*orders))


def test_a_control_can_be_closed_while_it_loads() -> None:
    async def main() -> None:
        control = AdapterControl()
        cards = make_cards(server.url, load_timeout_s=60)
        control.configure(cards.values())
        task = asyncio.create_task(control.hold(at(cards["a"])))
        await asyncio.sleep(0.1)
        await control.aclose()
        with pytest.raises(asyncio.CancelledError):
            await task

    with running(server := ScriptedVllm()):
        server.load_s = 10
        asyncio.run(main())
