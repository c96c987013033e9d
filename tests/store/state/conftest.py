from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, needs_redis, redis_server, with_prefix
from tests.store.state.states import Open, Redis, Sqlite, State


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A server that no test disturbs."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "file", pytest.param("redis", marks=needs_redis)])
def open_state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens stores of one kind. Those with the same name share their data, unless they are in memory."""
    kind, opened, numbers = request.param, [], itertools.count()
    urls: dict[str, str] = {}

    def open_one(name: str | None = None, hold_s: float = 60.0) -> State:
        name = name or f"unnamed-{next(numbers)}"
        if kind == "redis":
            url = urls.setdefault(name, with_prefix(request.getfixturevalue("redis").url))
            state: State = Redis(url, hold_s)
        else:
            state = Sqlite(tmp_path / name / "state.sqlite" if kind == "file" else None, hold_s=hold_s)
        opened.append(state)
        return state

    yield open_one
    for state in opened:
        state.close()


@pytest.fixture
def state(open_state: Open) -> State:
    return open_state()


@pytest.fixture(params=["file", pytest.param("redis", marks=needs_redis)])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[State, State]]:
    """Two clients of one store, as two workers or gateways are."""
    if request.param == "redis":
        url = with_prefix(request.getfixturevalue("redis").url)
        clients: list[State] = [Redis(url, 60.0) for _ in range(2)]
    else:
        clients = [Sqlite(tmp_path / "state.sqlite", hold_s=60.0) for _ in range(2)]
    yield clients[0], clients[1]
    for client in clients:
        client.close()
