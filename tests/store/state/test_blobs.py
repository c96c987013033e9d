"""Blobs in the shared state: workers and gateways replace them without losing a change."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from router.store.state import blobs
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from router.store.state.threaded import ThreadedState


def _swap(state: SqliteState, name: str, version: int, content: bytes, now_s: float = 1.0) -> int:
    return asyncio.run(state.swap_blob(Blob(name, version, content), now_s))


def test_only_whoever_saw_the_last_version_replaces_a_blob(tmp_path: Path) -> None:
    one, two = SqliteState(tmp_path / "state.sqlite"), SqliteState(tmp_path / "state.sqlite")
    first = _swap(one, "a", 0, b"1")
    assert first > 0
    assert _swap(two, "a", 0, b"2") == 0
    second = _swap(two, "a", first, b"2")
    assert second > first
    assert _swap(one, "a", first, b"3") == 0
    assert asyncio.run(one.blobs_after(0, "")) == (Blob("a", second, b"2"),)
    one.close()
    two.close()


def test_a_blob_that_does_not_exist_cannot_be_replaced() -> None:
    state = SqliteState()
    assert _swap(state, "a", 7, b"1") == 0
    assert asyncio.run(state.blobs_after(0, "")) == ()
    state.close()


def test_what_has_changed_since_is_found_by_prefix() -> None:
    async def run() -> None:
        state = ThreadedState(SqliteState())
        first = await state.swap_blob(Blob("memory/a%", 0, b"1"), 1.0)
        await state.swap_blob(Blob("other/b", 0, b"2"), 1.0)
        third = await state.swap_blob(Blob("memory/c", 0, b"3"), 1.0)
        assert [blob.name for blob in await state.blobs_after(0, "memory/")] == ["memory/a%", "memory/c"]
        assert [blob.name for blob in await state.blobs_after(first, "memory/")] == ["memory/c"]
        assert await state.blobs_after(third, "memory/") == ()
        assert (await state.swap_blob(Blob("memory/a%", first, b"4"), 1.0)) > third
        state.close()

    asyncio.run(run())


def test_parallel_writers_lose_no_change(tmp_path: Path) -> None:
    file = tmp_path / "state.sqlite"
    SqliteState(file).close()

    def add_fifty() -> None:
        state = SqliteState(file)
        done = 0
        while done < 50:
            known = asyncio.run(state.blobs_after(0, "n"))
            version, value = (known[0].version, int(known[0].content)) if known else (0, 0)
            done += _swap(state, "n", version, b"%d" % (value + 1)) > 0
        state.close()

    threads = [threading.Thread(target=add_fifty) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = SqliteState(file)
    assert asyncio.run(state.blobs_after(0, "n"))[0].content == b"150"
    state.close()


def test_old_blobs_are_deleted_but_versions_are_not_used_again() -> None:
    state = SqliteState()
    first = _swap(state, "a", 0, b"1")
    last = _swap(state, "b", 0, b"2")
    state.maintain_once(blobs.KEEP_S + 10.0)
    assert asyncio.run(state.blobs_after(0, "")) == (Blob("b", last, b"2"),)
    assert _swap(state, "a", 0, b"3") > last > first
    state.close()
