"""At which server an adapter is used."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.dispatch.residency import Residency, ServerLoad
from router.dispatch.residency.placement import Room, ranked

NAMES = st.text("abcdef", min_size=1, max_size=6)
SERVERS = st.sets(NAMES, min_size=2, max_size=8)
ROOMS: tuple[Room, ...] = ("holds", "free", "evictable", "full")


def idle(servers: set[str]) -> list[ServerLoad]:
    return [ServerLoad(name) for name in sorted(servers)]


@pytest.mark.parametrize(
    ("rooms", "running", "first"),
    [
        ({"a": "free", "b": "holds", "c": "free"}, {}, "b"),
        ({"a": "free", "b": "holds", "c": "free"}, {"b": 100}, "b"),
        ({"a": "holds", "b": "holds", "c": "free"}, {"a": 2, "b": 1}, "b"),
        ({"a": "evictable", "b": "free", "c": "evictable"}, {"b": 9}, "b"),
        ({"a": "full", "b": "full", "c": "evictable"}, {"c": 9}, "c"),
    ],
)
def test_a_holder_comes_before_a_free_slot_and_that_before_an_eviction(
    rooms: dict[str, Room], running: dict[str, int], first: str
) -> None:
    servers = [ServerLoad(name, running.get(name, 0)) for name in rooms]
    assert ranked("sql", servers, rooms.__getitem__)[0] == first


@settings(deadline=None)
@given(SERVERS, st.lists(NAMES, min_size=1, max_size=30, unique=True), st.data())
def test_only_the_adapters_of_a_server_that_goes_get_another_place(
    servers: set[str], adapters: list[str], data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(sorted(servers)))
    for adapter in adapters:
        before = ranked(adapter, idle(servers), lambda _: "evictable")
        after = ranked(adapter, idle(servers - {gone}), lambda _: "evictable")
        assert after == [name for name in before if name != gone]


@settings(deadline=None)
@given(SERVERS, NAMES, st.randoms(use_true_random=False))
def test_the_place_does_not_depend_on_the_order_of_the_servers(servers: set[str], adapter: str, random: object) -> None:
    shuffled = idle(servers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ranked(adapter, shuffled, lambda _: "free") == ranked(adapter, idle(servers), lambda _: "free")


def test_adapters_spread_evenly_over_servers() -> None:
    servers = idle({"http://a", "http://b", "http://c", "http://d"})
    homes = [ranked(f"adapter-{number}", servers, lambda _: "free")[0] for number in range(2000)]
    assert all(400 < homes.count(each.server) < 600 for each in servers)


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.tuples(st.sampled_from(ROOMS), st.integers(0, 50)), min_size=2), NAMES)
def test_a_server_far_busier_than_the_average_takes_no_adapter_that_another_one_could_load(
    servers: dict[str, tuple[Room, int]], adapter: str
) -> None:
    mean = sum(running for _, running in servers.values()) / len(servers)
    order = ranked(
        adapter, [ServerLoad(name, running) for name, (_, running) in servers.items()], lambda name: servers[name][0]
    )
    assert sorted(order) == sorted(servers)
    for earlier, later in itertools.pairwise(order):
        (room, running), (other_room, other_running) = servers[earlier], servers[later]
        assert ROOMS.index(room) <= ROOMS.index(other_room)
        if room == other_room and room != "holds":
            assert running <= max(other_running, 1.25 * (mean + 1))


def test_a_server_that_was_not_set_comes_last() -> None:
    residency = Residency()
    residency.set_server("b", 1)
    assert residency.rank("sql", [ServerLoad("a"), ServerLoad("b")]) == ["b", "a"]
