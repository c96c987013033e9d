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


def told(*findings: Mapping[str, str] | Exception, gone: bool = False) -> tuple[AvailabilityMonitor, list[str]]:
    """A watch over the five cards, after it has found all of these, and what it told."""
    lines: list[str] = []
    left: Iterator[Mapping[str, str] | Exception] = iter(findings)
    done = asyncio.Event()

    def probe(_: Catalog) -> Mapping[str, str]:
        found = next(left, None)
        if found is None:
            loop.call_soon_threadsafe(done.set)
            return findings[-1] if isinstance(findings[-1], Mapping) else {}
        if isinstance(found, Exception):
            raise found
        return found

    def tell(line: str) -> None:
        lines.append(line)
        if gone:
            raise BrokenPipeError

    watch = AvailabilityMonitor(CATALOG, probe, tell)

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await watch.look()
        looking = asyncio.create_task(watch.keep_looking(0.0))
        await asyncio.wait_for(done.wait(), 5)
        assert not looking.done()
        looking.cancel()

    loop: asyncio.AbstractEventLoop
    asyncio.run(main())
    return watch, lines


def test_a_card_that_comes_and_goes_is_told_once_each() -> None:
    watch, lines = told({"a": DOWN}, {"a": DOWN}, {}, {}, {"b": DOWN})
    assert lines == ["a can be called now", f"b cannot be called any more ({DOWN})"]
    assert watch.callable_cards == 4


def test_many_cards_that_change_at_once_are_one_line() -> None:
    assert told(dict.fromkeys("abcd", DOWN), {"e": DOWN})[1] == [
        f"a, b, c and 1 more can be called now; e cannot be called any more ({DOWN})"
    ]


@pytest.mark.parametrize("error", [ConfigurationError("odd"), OSError("odd"), RuntimeError("odd"), UnicodeError("odd")])
def test_a_look_that_fails_is_logged_and_ends_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    watch, lines = told({"a": DOWN}, error, {})
    assert lines == ["a can be called now"]
    assert "odd" in caplog.text
    assert watch.unavailable == {}


def test_what_was_known_stays_where_a_look_fails() -> None:
    assert told({"a": DOWN}, OSError("odd"), {"a": DOWN})[1] == []


def test_nobody_reading_the_lines_ends_nothing() -> None:
    assert told({"a": DOWN}, {}, {"a": DOWN}, gone=True)[1] == [
        "a can be called now",
        f"a cannot be called any more ({DOWN})",
    ]
