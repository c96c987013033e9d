"""A gateway in a process of its own, in front of the fake provider, and a workplace for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.clients.conftest import KEY_VARIABLE, UPSTREAM_KEY, cards
from tests.clients.programs.workplace import NOTE, Workplace, proxy_trap
from tests.clients.upstream import Upstream, upstream_server
from tests.faults.process import route_serve, served

# One card a protocol; `auto` must not choose those that have faults.
CARDS = ("gpt-5.4", "open-model", "claude")


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, str]]:
    """The fake provider, and the URL of `route serve` in front of it."""
    with upstream_server() as upstream:
        healthy = [card for card in cards(upstream.url) if card.id in CARDS]
        start = route_serve(tmp_path_factory.mktemp("gateway"), healthy)
        key = {KEY_VARIABLE: UPSTREAM_KEY}
        with served(msgspec.structs.replace(start, environment=start.environment | key)) as (url, _):
            yield upstream, url


@pytest.fixture
def upstream(process: tuple[Upstream, str]) -> Upstream:
    """The fake provider, without earlier requests."""
    process[0].seen.clear()
    return process[0]


@pytest.fixture
def gateway(process: tuple[Upstream, str]) -> str:
    """The URL of the gateway's process, without /v1."""
    return process[1]


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    """A home folder, and a folder with `note.txt`."""
    with proxy_trap() as trap:
        place = Workplace(tmp_path / "home", tmp_path / "work", trap)
        for folder in (place.home, place.folder):
            folder.mkdir()
        place.note.write_text(f"{NOTE}\n", encoding="utf-8")
        yield place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each program's first test the time to install it."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))
