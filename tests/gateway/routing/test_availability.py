from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest

from router.cards import Catalog
from router.errors import ConfigurationError
from router.gateway.routing.availability import AvailabilityMonitor
from tests.gateway.servers import make_card

CATALOG = Catalog([make_card(name, "http://127.0.0.1:1") for name in "abcde"])
DOWN = "no server answers"


def monitored(*results: Mapping[str, str] | Exception, closed: bool = False) -> tuple[AvailabilityMonitor, list[str]]:
    """A monitor of the five cards after these probe results, and the lines that it sent; `closed`: to a closed pipe."""
    lines: list[str] = []
    remaining: Iterator[Mapping[str, str] | Exception] = iter(results)
    done = asyncio.Event()

    def probe(_: Catalog) -> Mapping[str, str]:
        result = next(remaining, None)
        if result is None:
            loop.call_soon_threadsafe(done.set)
            return results[-1] if isinstance(results[-1], Mapping) else {}
        if isinstance(result, Exception):
            raise result
        return result

    def notify(line: str) -> None:
        lines.append(line)
        if closed:
            raise BrokenPipeError

    monitor = AvailabilityMonitor(CATALOG, probe, notify)

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await monitor.probe_now()
        task = asyncio.create_task(monitor.run(0.0))
        await asyncio.wait_for(done.wait(), 5)
        assert not task.done()
        task.cancel()

    loop: asyncio.AbstractEventLoop
    asyncio.run(main())
    return monitor, lines


def test_each_change_of_a_card_is_reported_once() -> None:
    monitor, lines = monitored({"a": DOWN}, {"a": DOWN}, {}, {}, {"b": DOWN})
    assert lines == ["now available: a", f"no longer available: b ({DOWN})"]
    assert monitor.callable_cards == 4


def test_simultaneous_changes_are_reported_in_one_line() -> None:
    assert monitored(dict.fromkeys("abcd", DOWN), {"e": DOWN})[1] == [
        f"now available: a, b, c and 1 more; no longer available: e ({DOWN})"
    ]


@pytest.mark.parametrize("error", [ConfigurationError("odd"), OSError("odd"), RuntimeError("odd"), UnicodeError("odd")])
def test_a_failed_probe_is_logged_and_the_monitor_continues(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    monitor, lines = monitored({"a": DOWN}, error, {})
    assert lines == ["now available: a"]
    assert "odd" in caplog.text
    assert monitor.unavailable == {}


def test_a_failed_probe_keeps_the_previous_result() -> None:
    assert monitored({"a": DOWN}, OSError("odd"), {"a": DOWN})[1] == []


def test_the_monitor_continues_when_its_lines_cannot_be_written() -> None:
    assert monitored({"a": DOWN}, {}, {"a": DOWN}, closed=True)[1] == [
        "now available: a",
        f"no longer available: a ({DOWN})",
    ]
