"""Which connection makes room for another one."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.config.connections import ConnectionLimits
from router.gateway.server.connections import Connections, address_of


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

    def __init__(self, connections: Connections, address: str, loop: Loop) -> None:
        self.address, self.peer, self.is_open, self._connections = address, f"{address}5", True, connections
        self.is_within = connections.add(self, cast("asyncio.AbstractEventLoop", loop))

    def evict(self) -> None:
        self.is_open = False
        self._connections.remove(self)

    expire = evict


def made(total: int, per_address: int = 1000) -> tuple[Connections, Loop]:
    limits = ConnectionLimits(total=total, per_address=per_address)
    return Connections(lambda: limits), Loop()


def test_silent_connections_go_before_idle_ones_and_the_oldest_first() -> None:
    connections, loop = made(3)
    kept, first, second = (Client(connections, "a", loop) for _ in range(3))
    connections.busy(kept)
    connections.idle(kept)
    third, fourth = Client(connections, "b", loop), Client(connections, "b", loop)
    assert [client.is_open for client in (kept, first, second, third, fourth)] == [True, False, False, True, True]
    assert all(client.is_within for client in (third, fourth))


def test_a_trusted_peer_has_no_limit_of_its_own() -> None:
    limits = ConnectionLimits(per_address=1)
    connections, loop = Connections(lambda: limits, is_trusted=lambda peer: peer == "2001:db8::5"), Loop()
    clients = [Client(connections, address, loop) for address in ("2001:db8::", "2001:db8::", "b", "b")]
    assert [client.is_open for client in clients] == [True, True, False, True]


def test_an_address_with_too_many_connections_makes_room_among_its_own() -> None:
    connections, loop = made(100, per_address=2)
    other = Client(connections, "b", loop)
    mine = [Client(connections, "a", loop) for _ in range(4)]
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
