"""Which connection makes room for another one."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.config.connections import ConnectionLimits
from router.gateway.server.connections import SURPLUS, Connections, address_of
from router.gateway.server.waiting import Waiting


class Loop:
    """A clock."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def call_later(self, *_: Any) -> None:
        return None


class Client:
    """A connection that is removed as soon as it is evicted."""

    deadline = 0.0
    key_id = ""

    def __init__(self, connections: Connections, address: str, loop: Loop) -> None:
        self._loop = loop
        self.address, self.peer, self.is_open, self._connections = address, f"{address}5", True, connections
        self.is_within = connections.add(self, cast("asyncio.AbstractEventLoop", loop))

    def evict(self) -> None:
        self.is_open = False
        self._connections.remove(self)

    expire = evict

    def kept(self, key_id: str = "") -> Client:
        """It has had a response."""
        self.key_id = key_id
        self._connections.busy(self)
        self._connections.idle(self, self._loop.now)
        return self


def made(total: int, per_address: int = 1000) -> tuple[Connections, Loop]:
    limits = ConnectionLimits(total=total, per_address=per_address)
    return Connections(lambda: limits), Loop()


def open_ones(clients: list[Client]) -> list[bool]:
    return [client.is_open for client in clients]


def test_silent_connections_go_before_idle_ones_and_the_oldest_first() -> None:
    connections, loop = made(3)
    kept = Client(connections, "a", loop).kept()
    first, second = (Client(connections, "a", loop) for _ in range(2))
    loop.now += 1
    third, fourth = Client(connections, "b", loop), Client(connections, "b", loop)
    assert open_ones([kept, first, second, third, fourth]) == [True, False, False, True, True]
    assert all(client.is_within for client in (third, fourth))


def test_a_connection_that_is_just_open_outlives_kept_ones() -> None:
    connections, loop = made(4)
    kept = [Client(connections, "a", loop).kept() for _ in range(3)]
    first, second, third = (Client(connections, "a", loop) for _ in range(3))
    assert open_ones([*kept, first, second, third]) == [False, False, True, True, True, True]


def test_connections_with_a_key_outlive_those_without() -> None:
    connections, loop = made(3)
    known = Client(connections, "a", loop).kept("team")
    loop.now += 1
    nameless = [Client(connections, "a", loop).kept() for _ in range(2)]
    Client(connections, "a", loop), Client(connections, "a", loop)
    assert open_ones([known, *nameless]) == [True, False, False]


@pytest.mark.parametrize("key_ids", [("", ""), ("few", "many")])
def test_whoever_has_most_idle_connections_loses_its_own_first(key_ids: tuple[str, str]) -> None:
    connections, loop = made(5)
    few = Client(connections, "a", loop).kept(key_ids[0])
    many = [Client(connections, "b", loop).kept(key_ids[1]) for _ in range(4)]
    for _ in range(2):
        Client(connections, "b", loop)
    assert open_ones([few, *many]) == [True, False, False, True, True]


def test_a_flood_of_new_connections_costs_those_with_a_key_no_more_than_half() -> None:
    connections, loop = made(8)
    known = [Client(connections, "a", loop).kept("team") for _ in range(8)]
    for _ in range(100):
        Client(connections, "b", loop)
    assert open_ones(known) == [False] * 4 + [True] * 4


def test_a_surplus_connection_finds_room_when_its_request_has_come() -> None:
    connections, loop = made(1)
    busy = Client(connections, "a", loop)
    connections.busy(busy)
    surplus = Client(connections, "b", loop)
    assert not surplus.is_within
    assert not connections.admits(cast("Waiting", surplus), loop.now)
    busy.kept()
    assert connections.admits(cast("Waiting", surplus), loop.now)
    assert open_ones([busy, surplus]) == [True, True]


def test_beyond_the_surplus_the_oldest_new_connection_goes() -> None:
    connections, loop = made(1)
    connections.busy(Client(connections, "a", loop))
    new = [Client(connections, "b", loop) for _ in range(SURPLUS + 1)]
    assert open_ones(new) == [False] + [True] * SURPLUS


@pytest.mark.parametrize(
    ("url", "is_served"),
    [
        (b"/healthz", True),
        (b"/gateway/healthz", True),
        (b"/gateway/readyz?x=1", True),
        (b"/gateway/v1/models", False),
        (b"/other/healthz", False),
    ],
)
def test_health_is_recognised_below_the_base_path(url: bytes, is_served: bool) -> None:
    assert Connections(base_path=lambda: "/gateway").serves_always(url) is is_served


def test_a_trusted_peer_has_no_limit_of_its_own() -> None:
    limits = ConnectionLimits(per_address=1)
    connections, loop = Connections(lambda: limits, is_trusted=lambda peer: peer == "2001:db8::5"), Loop()
    clients = [Client(connections, address, loop) for address in ("2001:db8::", "2001:db8::", "b", "b")]
    assert [client.is_open for client in clients] == [True, True, False, True]


def test_an_address_with_too_many_connections_makes_room_among_its_own() -> None:
    connections, loop = made(100, per_address=2)
    other = Client(connections, "b", loop)
    mine = []
    for _ in range(4):
        mine.append(Client(connections, "a", loop))
        loop.now += 1
    assert [client.is_open for client in mine] == [False, False, True, True]
    assert other.is_open


def test_requests_in_progress_are_never_ended_for_others() -> None:
    connections, loop = made(2)
    busy = [Client(connections, "a", loop) for _ in range(2)]
    for client in busy:
        connections.busy(client)
    assert not Client(connections, "b", loop).is_within
    assert all(client.is_open for client in busy)


@pytest.mark.parametrize(("stalled_s", "is_open"), [(1.0, True), (10.0, False)])
def test_where_nothing_waits_a_client_that_does_not_read_makes_room(stalled_s: float, is_open: bool) -> None:
    connections, loop = made(1)
    reader = Client(connections, "a", loop)
    connections.busy(reader)
    connections.stalled(reader, loop.now)
    loop.now += stalled_s
    newcomer = Client(connections, "b", loop)
    assert (reader.is_open, newcomer.is_within) == (is_open, not is_open)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=60))
def test_there_are_never_more_connections_that_wait_than_allowed(arrivals: list[tuple[str, bool]]) -> None:
    connections, loop = made(8, per_address=4)
    for address, has_request in arrivals:
        client = Client(connections, address, loop)
        if has_request and client.is_within:
            connections.busy(client)
        elif not client.is_within:
            # A surplus connection is answered with 503 and closed.
            client.evict()
        assert connections.count <= 8


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, ""),
    ],
)
def test_one_client_may_have_a_64_of_ipv6(host: str | None, address: str) -> None:
    assert address_of(None if host is None else (host, 1)) == address
