"""The time limits of one event loop, with a loop whose clock stands still."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest

from router.dispatch.bounds.deadlines import Deadlines, deadlines_of


class Timer:
    """A timer of the loop below."""

    is_cancelled = False

    def __init__(self, at_s: float, call: Callable[[], None]) -> None:
        self.at_s, self.call = at_s, call

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The two methods that deadlines need."""

    def __init__(self) -> None:
        self.now_s, self.timers = 100.0, list[Timer]()

    def time(self) -> float:
        return self.now_s

    def call_at(self, at_s: float, call: Callable[[], None]) -> Timer:
        self.timers.append(timer := Timer(at_s, call))
        return timer

    @property
    def running(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def advance(self, to_s: float) -> None:
        self.now_s = to_s
        for timer in [timer for timer in self.running if timer.at_s <= to_s]:
            self.timers.remove(timer)
            timer.call()


class Limit:
    def __init__(self, over: list[str], name: str) -> None:
        self._over, self._name = over, name

    def expire(self) -> None:
        self._over.append(self._name)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def deadlines(loop: Loop) -> Deadlines:
    return Deadlines(cast("asyncio.AbstractEventLoop", loop))


def test_each_limit_expires_once_at_its_own_time(loop: Loop, deadlines: Deadlines) -> None:
    over: list[str] = []
    deadlines.begin(Limit(over, "late"), 105)
    deadlines.begin(Limit(over, "early"), 102)
    loop.advance(101)
    assert over == []
    loop.advance(102)
    assert over == ["early"]
    loop.advance(105)
    loop.advance(200)
    assert over == ["early", "late"]
    assert not loop.running


def test_a_limit_that_has_ended_never_expires(loop: Loop, deadlines: Deadlines) -> None:
    over: list[str] = []
    ended = Limit(over, "ended")
    deadlines.begin(ended, 102)
    deadlines.begin(Limit(over, "other"), 103)
    deadlines.end(ended)
    deadlines.end(ended)
    loop.advance(110)
    loop.advance(111)
    assert over == ["other"]


def test_limits_that_follow_one_another_share_one_timer(loop: Loop, deadlines: Deadlines) -> None:
    over: list[str] = []
    for second in range(50):
        limit = Limit(over, "request")
        deadlines.begin(limit, 160 + second)
        deadlines.end(limit)
    assert len(loop.timers) == 1
    loop.advance(160)
    assert (over, loop.running) == ([], [])


def test_an_earlier_limit_replaces_the_timer_of_a_later_one(loop: Loop, deadlines: Deadlines) -> None:
    over: list[str] = []
    deadlines.begin(Limit(over, "late"), 105)
    deadlines.begin(Limit(over, "early"), 102)
    assert [timer.at_s for timer in loop.running] == [102]
    loop.advance(102)
    assert [timer.at_s for timer in loop.running] == [105]


def test_a_limit_may_begin_another_one_as_it_expires(loop: Loop, deadlines: Deadlines) -> None:
    over: list[str] = []

    class Again(Limit):
        def expire(self) -> None:
            super().expire()
            deadlines.begin(Limit(over, "second"), 103)

    deadlines.begin(Again(over, "first"), 102)
    loop.advance(102)
    loop.advance(103)
    assert over == ["first", "second"]


def test_a_loop_that_calls_a_little_early_is_not_asked_again(loop: Loop, deadlines: Deadlines) -> None:
    over: list[str] = []
    deadlines.begin(Limit(over, "limit"), 102.0004)
    [timer] = loop.timers
    loop.now_s = 102.0
    timer.call()
    assert over == ["limit"]


def test_a_loop_has_one_set_of_limits_which_does_not_keep_it() -> None:
    loop: Any = asyncio.new_event_loop()
    assert deadlines_of(loop) is deadlines_of(loop)
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None
