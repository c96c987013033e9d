from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from router.cards import Catalog
from router.dispatch.availability import ListingProblem, ModelServer, ServerInventory
from router.errors import ConfigurationError
from router.gateway.routing.availability import AvailabilityMonitor
from tests.gateway.servers import make_card

CATALOG = Catalog([make_card(name, "http://127.0.0.1:1") for name in "abcde"])
URL = "http://127.0.0.1:1/v1/models"
DOWN = "no server responds on port 1 of this machine"


def down(*cards: str) -> ServerInventory:
    """The servers of these cards do not respond."""
    return ServerInventory({card: ModelServer(URL, "a server", (), ListingProblem.NO_RESPONSE) for card in cards})


def monitored(*results: ServerInventory | Exception, closed: bool = False) -> tuple[AvailabilityMonitor, list[str]]:
    """A monitor of the five cards after these probe results, and the lines that it sent; `closed`: to a closed pipe."""
    lines: list[str] = []
    remaining: Iterator[ServerInventory | Exception] = iter(results)
    done = asyncio.Event()

    async def probe(_: Catalog) -> ServerInventory:
        result = next(remaining, None)
        if result is None:
            done.set()
            return results[-1] if isinstance(results[-1], ServerInventory) else down()
        if isinstance(result, Exception):
            raise result
        return result

    def notify(line: str) -> None:
        lines.append(line)
        if closed:
            raise BrokenPipeError

    monitor = AvailabilityMonitor(CATALOG, probe, notify)

    async def main() -> None:
        await monitor.probe_now()
        task = asyncio.create_task(monitor.run(0.0))
        await asyncio.wait_for(done.wait(), 5)
        assert not task.done()
        task.cancel()

    asyncio.run(main())
    return monitor, lines


def test_each_change_of_a_card_is_reported_once() -> None:
    monitor, lines = monitored(down("a"), down("a"), down(), down(), down("b"))
    assert lines == ["now available: a", f"no longer available: b ({DOWN})"]
    assert monitor.callable_cards == 4
    assert monitor.inventory == down("b")


def test_simultaneous_changes_are_reported_in_one_line() -> None:
    assert monitored(down(*"abcd"), down("e"))[1] == [
        f"now available: a, b, c and 1 more; no longer available: e ({DOWN})"
    ]


@pytest.mark.parametrize("error", [ConfigurationError("odd"), OSError("odd"), RuntimeError("odd"), UnicodeError("odd")])
def test_a_failed_probe_is_logged_and_the_monitor_continues(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    monitor, lines = monitored(down("a"), error, down())
    assert lines == ["now available: a"]
    assert "odd" in caplog.text
    assert monitor.unavailable == {}


def test_a_failed_probe_keeps_the_previous_result() -> None:
    assert monitored(down("a"), OSError("odd"), down("a"))[1] == []


def test_a_server_that_is_only_too_slow_to_list_its_models_stays_available() -> None:
    listed = ServerInventory({"a": ModelServer(URL, "a server", (CATALOG.named("a").model,))})
    slow = ServerInventory({"a": ModelServer(URL, "a server", (), ListingProblem.SLOW)})
    assert monitored(listed, slow, slow)[1] == []


def test_a_server_that_does_not_respond_once_may_be_restarting_and_stays_available() -> None:
    listed = ServerInventory({"a": ModelServer(URL, "a server", (CATALOG.named("a").model,))})
    assert monitored(listed, down("a"), listed, down("a"), listed)[1] == []
    assert monitored(listed, down("a"), down("a"))[1] == [f"no longer available: a ({DOWN})"]


def test_a_server_that_was_never_listed_is_unavailable_while_it_is_too_slow() -> None:
    slow = ServerInventory({"a": ModelServer(URL, "a server", (), ListingProblem.SLOW)})
    assert monitored(slow, slow)[0].unavailable == {
        "a": "the server on port 1 of this machine does not list its models in time"
    }


def test_the_monitor_continues_when_its_lines_cannot_be_written() -> None:
    assert monitored(down("a"), down(), down("a"), closed=True)[1] == [
        "now available: a",
        f"no longer available: a ({DOWN})",
    ]
