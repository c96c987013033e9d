"""The memories that workers share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import msgspec
import numpy as np
import pytest

from router.gateway.config.reload import ActiveConfig
from router.gateway.learning.memories import Memories, basis_of, name_of
from router.learn.online.outcomes import VOTES_AN_HOUR, Lesson
from router.perceive.memory.card import Vote
from router.perceive.memory.sketch import TABLES
from router.perceive.predictor import Predictor
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from tests.gateway.learning.conftest import active_with

_NOW_S = 1_790_000_000.0
_CARD = "claude-opus-4-5"


def _lesson(tenant: str | None, residual: float = -0.8) -> Lesson:
    return Lesson(_CARD, Vote(tenant, residual, 0.5, np.zeros(TABLES, dtype=np.intp)))


def _memories(state: SqliteState, active: ActiveConfig) -> Memories:
    return Memories(state, lambda: active, lambda: _NOW_S)


def test_two_workers_lose_no_vote_and_see_the_same(predictor: Predictor) -> None:
    async def run() -> None:
        state, active = SqliteState(), active_with(predictor)
        one, two = _memories(state, active), _memories(state, active)
        for number in range(30):
            results = await asyncio.gather(
                one.learn(_lesson("ann"), _NOW_S + number), two.learn(_lesson("bob"), _NOW_S + number)
            )
            assert results == ["learned", "learned"]
        await one.refresh()
        await two.refresh()
        assert one.known()[_CARD].votes == two.known()[_CARD].votes == 60
        cells = np.zeros(TABLES, dtype=np.intp)
        for key in ("ann", "bob", "eve", ""):
            assert one.view_for(key).on(cells) == two.view_for(key).on(cells)
            assert one.view_for(key).version == two.view_for(key).version != ""
        # A worker that starts later knows all of it.
        late = _memories(state, active)
        await late.refresh()
        assert late.view_for("eve").on(cells) == one.view_for("eve").on(cells)

    asyncio.run(run())


class _Watched(SqliteState):
    """Calls `before_reading` once, as the next caller reads blobs."""

    before_reading: Callable[[], Awaitable[None]] | None = None

    async def blobs_after(self, version: int, prefix: str) -> tuple[Blob, ...]:
        call, self.before_reading = self.before_reading, None
        if call is not None:
            await call()
        return await super().blobs_after(version, prefix)


def test_views_are_brought_up_to_date_while_a_vote_is_learned_that_another_worker_delays(predictor: Predictor) -> None:
    async def run() -> None:
        state, active = _Watched(), active_with(predictor)
        times, is_in_thread, goes_on = iter(range(2)), threading.Event(), threading.Event()

        def clock() -> float:
            # The second time is that of the views, once the memories are chosen.
            if next(times, None) == 1:
                is_in_thread.set()
                assert goes_on.wait(20)
            return _NOW_S

        one, two = Memories(state, lambda: active, clock), _memories(state, active)
        await two.learn(_lesson("bob"), _NOW_S)
        refreshing = asyncio.create_task(one.refresh())
        assert await asyncio.to_thread(is_in_thread.wait, 20)
        await two.learn(_lesson("bob"), _NOW_S)

        async def finish_refreshing() -> None:
            goes_on.set()
            await refreshing

        state.before_reading = finish_refreshing
        assert await one.learn(_lesson(None), _NOW_S) == "learned"
        assert one.known()[_CARD].votes == 3

    asyncio.run(run())


@pytest.mark.parametrize("edit", [{"model": "newer"}, {"base_url": "http://127.0.0.1:10/v1"}])
def test_an_edited_card_begins_anew(predictor: Predictor, edit: dict[str, str]) -> None:
    async def run() -> None:
        state = SqliteState()
        await _memories(state, active_with(predictor)).learn(_lesson("ann"), _NOW_S)
        edited = active_with(predictor)
        router = edited.router
        cards = [msgspec.structs.replace(card, **edit) if card.id == _CARD else card for card in router.catalog]
        router = type(router)(type(router.catalog)(cards), router.policies, predictor)
        after = _memories(state, msgspec.structs.replace(edited, router=router))
        await after.refresh()
        assert after.known() == {}
        assert await after.learn(_lesson("ann"), _NOW_S) == "learned"
        assert after.known()[_CARD].votes == 1

    asyncio.run(run())


def test_a_key_has_a_number_of_votes_an_hour(predictor: Predictor) -> None:
    async def run() -> None:
        memories = _memories(SqliteState(), active_with(predictor))
        results = [await memories.learn(_lesson("eve"), _NOW_S) for _ in range(int(VOTES_AN_HOUR) + 2)]
        assert results.count("learned") == VOTES_AN_HOUR
        assert results[-2:] == ["capped", "capped"]
        assert await memories.learn(_lesson("ann"), _NOW_S) == "learned"
        assert await memories.learn(_lesson(None), _NOW_S) == "learned"
        assert await memories.learn(_lesson("eve"), _NOW_S + 3_600) == "learned"

    asyncio.run(run())


def test_a_damaged_memory_is_ignored_and_begins_anew(predictor: Predictor) -> None:
    async def run() -> None:
        state, active = SqliteState(), active_with(predictor)
        basis = basis_of(predictor.id, active.router.catalog.named(_CARD), None)
        await state.swap_blob(Blob(name_of(_CARD, basis), 0, b"nonsense"), _NOW_S)
        memories = _memories(state, active)
        await memories.refresh()
        assert memories.known() == {}
        assert await memories.learn(_lesson("ann"), _NOW_S) == "learned"
        assert memories.known()[_CARD].votes == 1

    asyncio.run(run())


def test_gateways_with_different_cards_keep_their_own_memories_in_one_state(predictor: Predictor) -> None:
    async def run() -> None:
        state, ours = SqliteState(), active_with(predictor)
        theirs = active_with(predictor, "http://127.0.0.1:8")
        current = ours
        one = Memories(state, lambda: current, lambda: _NOW_S)
        other = _memories(state, theirs)
        for _ in range(3):
            assert await one.learn(_lesson("ann"), _NOW_S) == "learned"
            assert await other.learn(_lesson("bob"), _NOW_S) == "learned"
        for memories, key in ((one, "ann"), (other, "bob")):
            await memories.refresh()
            assert (memories.known()[_CARD].votes, memories.known()[_CARD].tenants) == (3, (key,))
        # One that takes over the other cards takes over what was learned of them.
        current = theirs
        await one.refresh()
        assert one.known()[_CARD].tenants == ("bob",)

    asyncio.run(run())


def test_views_are_kept_for_a_bounded_number_of_keys_those_that_ask_first(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.gateway.learning.memories._MOST_VIEWS", 2)

    async def run() -> None:
        memories = _memories(SqliteState(), active_with(predictor))
        for number in range(60):
            key = "abcde"[number % 5]
            assert await memories.learn(_lesson(key), _NOW_S + number) == "learned"
        await memories.refresh()
        assert memories.view_for("e") is memories.view_for("nobody")
        memories.view_for("e")
        await memories.refresh()
        assert memories.view_for("e") is not memories.view_for("nobody")
        assert len(memories._views) == 3

    asyncio.run(run())


def test_a_card_that_was_deleted_learns_nothing(predictor: Predictor) -> None:
    memories = _memories(SqliteState(), active_with(predictor))
    lesson = msgspec.structs.replace(_lesson("ann"), card="gone")
    assert asyncio.run(memories.learn(lesson, _NOW_S)) == "changed"
