"""Blobs in the shared state: workers and gateways replace them without losing a change."""

from __future__ import annotations

import asyncio

from router.store.state.blobs import KEEP_S
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState
from tests.store.state.states import State


def test_only_whoever_saw_the_last_version_replaces_a_blob(two: tuple[State, State]) -> None:
    one, other = two
    first = one.swap_blob("a", 0, b"1")
    assert first > 0
    assert other.swap_blob("a", 0, b"2") == 0
    second = other.swap_blob("a", first, b"2")
    assert second > first
    assert one.swap_blob("a", first, b"3") == 0
    assert one.blobs_after(0) == (Blob("a", second, b"2"),)


def test_a_blob_that_does_not_exist_cannot_be_replaced(state: State) -> None:
    assert state.swap_blob("a", 7, b"1") == 0
    assert state.blobs_after(0) == ()


def test_what_has_changed_since_is_found_by_prefix(state: State) -> None:
    first = state.swap_blob("memory/a%", 0, b"1")
    state.swap_blob("other/b", 0, b"2")
    third = state.swap_blob("memory/c", 0, b"3")
    assert [blob.name for blob in state.blobs_after(0, "memory/")] == ["memory/a%", "memory/c"]
    assert [blob.name for blob in state.blobs_after(first, "memory/")] == ["memory/c"]
    assert state.blobs_after(third, "memory/") == ()
    assert state.swap_blob("memory/a%", first, b"4") > third


def test_who_asks_again_and_again_misses_nothing(two: tuple[State, State]) -> None:
    one, other = two
    assert one.blobs_after(0, "quiet/") == ()
    for number in range(3):
        other.swap_blob(f"loud/{number}", 0, b"1")
        assert one.blobs_after(0, "quiet/") == ()
    first = other.swap_blob("quiet/a", 0, b"2")
    assert one.blobs_after(0, "quiet/") == (Blob("quiet/a", first, b"2"),)
    last = other.swap_blob("loud/4", 0, b"3")
    second = other.swap_blob("quiet/b", 0, b"4")
    assert one.blobs_after(first, "quiet/") == (Blob("quiet/b", second, b"4"),)
    assert one.blobs_after(last, "quiet/") == (Blob("quiet/b", second, b"4"),)
    assert one.blobs_after(second, "quiet/") == ()
    assert [blob.name for blob in one.blobs_after(0, "quiet/")] == ["quiet/a", "quiet/b"]


def test_any_bytes_come_back_as_they_were(state: State) -> None:
    content = bytes(range(256)) * 20
    version = state.swap_blob("a", 0, content)
    assert state.blobs_after(0) == (Blob("a", version, content),)


def test_of_several_writers_of_one_version_exactly_one_succeeds(two: tuple[State, State]) -> None:
    one, other = two

    async def race(state: State, version: int, content: bytes) -> list[int]:
        blob = Blob("n", version, content)
        return list(await asyncio.gather(*(state.store.swap_blob(blob, 1.0) for _ in range(10))))

    version = max(one.wait(race(one, 0, b"1")))
    again = one.wait(race(one, version, b"2"))
    assert sum(number > 0 for number in again) == 1
    assert other.swap_blob("n", version, b"3") == 0
    assert other.blobs_after(0) == (Blob("n", max(again), b"2"),)


def test_old_blobs_are_deleted_but_versions_are_not_used_again(state: State) -> None:
    first = state.swap_blob("a", 0, b"1", now_s=1.0)
    last = state.swap_blob("b", 0, b"2", now_s=KEEP_S + 10.0)
    state.maintain_once(KEEP_S + 10.0)
    assert state.blobs_after(0) == (Blob("b", last, b"2"),)
    assert state.swap_blob("a", 0, b"3") > last > first


def test_a_store_in_a_thread_keeps_blobs_too() -> None:
    async def run() -> None:
        state = ThreadedState(SqliteState())
        version = await state.swap_blob(Blob("a", 0, b"1"), 1.0)
        assert await state.blobs_after(0, "") == (Blob("a", version, b"1"),)
        state.close()

    asyncio.run(run())
