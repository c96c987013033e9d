from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from router.errors import ConfigurationError
from router.gateway.config.keys import hash_of
from router.gateway.config.reload import ActiveConfig, ConfigReloader, loader
from router.gateway.config.sources import Sources
from tests.gateway.servers import IndifferentPredictor

SECONDS = 20.0
"""Generous: what is waited for takes well under a second, on a quiet machine."""


class Folder:
    """A gateway's configuration in a folder: cards `a` and `b`, one policy, no keys, no settings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources = Sources(
            root / "model_cards", root / "policies", root / "evidence", root / "gateway.yaml", root / "keys.yaml"
        )
        self.sources.cards.mkdir(parents=True)
        self.sources.policies.mkdir()
        self.card("a")
        self.card("b")
        self.policy("default")

    def card(self, id_: str, price: float = 1.0) -> None:
        text = f"id: {id_}\nprovider: openai\nmodel: {id_}\nprice: {{input: {price}$, output: {price}$}}\n"
        (self.sources.cards / f"{id_}.yaml").write_text(text)

    def policy(self, id_: str, fallbacks: int = 3) -> None:
        text = f"id: {id_}\ndescription: Cheap first.\ngoals: {{cheapest: 1}}\nfallbacks: {fallbacks}\n"
        (self.sources.policies / f"{id_}.yaml").write_text(text)

    def keys(self, *ids: str) -> None:
        entries = [f"  - id: {id_}\n    hash: {hash_of(id_)}\n" for id_ in ids]
        self.sources.keys.write_text("keys:\n" + "".join(entries))

    def live(self, lines: list[str] | None = None, **options: Any) -> ConfigReloader:
        load = loader(self.sources, IndifferentPredictor())  # type: ignore[arg-type]
        return ConfigReloader(load, self.sources, tell=(lines if lines is not None else []).append, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "etc")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watching(live: ConfigReloader) -> AsyncIterator[ConfigReloader]:
    task = asyncio.create_task(live.watch())
    try:
        yield live
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(folder: Folder, steps: Callable[[ConfigReloader], Awaitable[None]], **options: Any) -> list[str]:
    """Runs `steps` while the folder is watched; the lines that were told."""
    lines: list[str] = []

    async def main() -> None:
        async with watching(folder.live(lines, **options)) as live:
            await steps(live)

    asyncio.run(main())
    return lines


def ids(live: ConfigReloader) -> tuple[str, ...]:
    return live.current.router.catalog.ids


def test_a_start_with_a_broken_file_fails(folder: Folder) -> None:
    folder.sources.gateway.write_text("retrys: 1\n")
    with pytest.raises(ConfigurationError, match=r'gateway\.yaml:1: unknown key "retrys"; did you mean "retries"\?'):
        folder.live()


def test_a_start_without_the_policy_that_auto_stands_for_fails(folder: Folder) -> None:
    folder.policy("cheap")
    (folder.sources.policies / "default.yaml").unlink()
    with pytest.raises(ConfigurationError, match='there is no policy "default", which the model name "auto" stands'):
        folder.live()


def test_cards_come_go_and_change_while_it_runs(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        folder.card("c")
        (folder.sources.cards / "a.yaml").unlink()
        folder.card("b", price=2.0)
        await until(lambda: ids(live) == ("b", "c"))
        await until(lambda: live.current.router.catalog.named("b").price.output_usd == 2.0)  # type: ignore[union-attr]

    lines = run(folder, steps)
    assert lines == ["took over an edit: cards: +c, -a, ~b"]


def test_policies_settings_and_keys_change_while_it_runs(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        folder.policy("default", fallbacks=1)
        await until(lambda: live.current.router.policies["default"].fallbacks == 1)
        folder.sources.gateway.write_text("retries: 0\n")
        await until(lambda: live.current.config.retries == 0)
        folder.keys("ci")
        await until(lambda: live.current.keys.find("ci") is not None)
        assert live.current.number == 4

    lines = run(folder, steps)
    assert lines == [
        "took over an edit: policies: ~default",
        "took over an edit: gateway: ~retries",
        "took over an edit: keys: +ci",
    ]


def test_new_keys_or_settings_leave_the_router_as_it_is(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        router = live.current.router
        folder.keys("ci")
        await until(lambda: bool(live.current.keys))
        assert live.current.router is router
        folder.card("c")
        await until(lambda: live.current.router is not router)

    run(folder, steps)


def test_evidence_of_a_card_is_taken_over(folder: Folder) -> None:
    outcome = {
        "probe": "p1",
        "domain": "sums",
        "prompt": "1 + 1?",
        "grader": "exact",
        "score": 1.0,
        "answer": "2",
        "model": "a",
        "time": "2026-01-01T00:00:00Z",
        "latency_ms": 1.0,
    }

    async def steps(live: ConfigReloader) -> None:
        # The folder did not exist, so this is also one that appears.
        folder.sources.evidence.mkdir()
        (folder.sources.evidence / "a.jsonl").write_text(json.dumps(outcome) + "\n")
        await until(lambda: "a" in live.current.evidence)

    assert run(folder, steps) == ["took over an edit: evidence: +a"]


def test_a_broken_edit_is_refused_told_once_and_mended(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        broken = folder.sources.cards / "c.yaml"
        broken.write_text("id: c\nprovidr: openai\n")
        await until(lambda: live.problem is not None)
        assert live.problem == f'{broken}:2: unknown key "providr"; did you mean "provider"?'
        assert ids(live) == ("a", "b")
        # Something else that changes meanwhile is not taken over, and the same problem not told again.
        folder.card("d")
        await asyncio.sleep(1)
        assert ids(live) == ("a", "b")
        folder.card("c")
        await until(lambda: live.problem is None)
        assert ids(live) == ("a", "b", "c", "d")

    lines = run(folder, steps)
    refused, taken = lines
    assert refused.startswith("refused an edit, the last good configuration stays: ")
    assert taken == "took over an edit: cards: +c, +d"


def test_a_broken_edit_that_is_undone_is_mended_without_a_new_configuration(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        (folder.sources.cards / "c.yaml").write_text("id: c\n")
        await until(lambda: live.problem is not None)
        (folder.sources.cards / "c.yaml").unlink()
        await until(lambda: live.problem is None)
        assert live.current.number == 1

    assert run(folder, steps)[1:] == ["the configuration is the last good one again"]


def test_a_file_that_says_the_same_as_before_is_no_change(folder: Folder) -> None:
    changed: list[ActiveConfig] = []

    async def steps(live: ConfigReloader) -> None:
        folder.card("a")
        os.utime(folder.sources.cards / "b.yaml")
        (folder.sources.cards / "notes.txt").write_text("no card")
        folder.card("c")
        await until(lambda: ids(live) == ("a", "b", "c"))
        folder.card("c")
        await asyncio.sleep(1)
        assert live.current.number == 2

    run(folder, steps, on_change=changed.append)
    assert [each.number for each in changed] == [2]


def test_whoever_asked_to_know_is_called_after_the_swap(folder: Folder) -> None:
    seen: list[bool] = []
    holder: list[ConfigReloader] = []

    def note(loaded: ActiveConfig) -> None:
        seen.append(holder[0].current is loaded)
        raise ConfigurationError("stumbles")

    async def steps(live: ConfigReloader) -> None:
        holder.append(live)
        folder.card("c")
        await until(lambda: len(seen) == 1)
        # Stumbling there does not end the watch.
        folder.card("d")
        await until(lambda: len(seen) == 2)

    run(folder, steps, on_change=note)
    assert seen == [True, True]


def test_a_file_replaced_by_another_one_as_editors_do_is_seen_every_time(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        folder.sources.gateway.write_text("retries: 2\n")
        for retries in (3, 4, 5):
            other = folder.root / f".gateway.yaml.{retries}"
            other.write_text(f"retries: {retries}\n")
            other.rename(folder.sources.gateway)
            await until(lambda expected=retries: live.current.config.retries == expected)  # type: ignore[misc]

    run(folder, steps)


def test_a_file_that_is_gone_for_a_moment_is_not_missed(folder: Folder) -> None:
    folder.sources.gateway.write_text("retries: 2\n")
    seen: list[int] = []

    async def steps(live: ConfigReloader) -> None:
        # As vim does with `backupcopy=no`, on a slow disk.
        folder.sources.gateway.rename(folder.root / "gateway.yaml~")
        await asyncio.sleep(0.2)
        folder.sources.gateway.write_text("retries: 3\n")
        await until(lambda: live.current.config.retries == 3)

    run(folder, steps, on_change=lambda loaded: seen.append(loaded.config.retries))
    assert seen == [3]


def test_a_folder_that_is_deleted_and_made_again_is_watched_again(folder: Folder) -> None:
    async def steps(live: ConfigReloader) -> None:
        for name in ("c", "d", "e"):
            shutil.rmtree(folder.sources.cards)
            await until(lambda: live.problem is not None)
            assert "does not exist" in str(live.problem)
            folder.sources.cards.mkdir()
            folder.card(name)
            await until(lambda expected=name: ids(live) == (expected,))  # type: ignore[misc]
            folder.card(f"{name}2")
            await until(lambda expected=name: ids(live) == (expected, f"{expected}2"))  # type: ignore[misc]

    run(folder, steps)


def test_a_config_map_of_kubernetes_is_followed_through_its_links(tmp_path: Path) -> None:
    """The kubelet writes a new folder, and turns the link `..data` to it in one step."""
    folder = Folder(tmp_path / "mount" / "..2026_1")
    mount = tmp_path / "mount"
    (mount / "..data").symlink_to("..2026_1")
    for name in ("model_cards", "policies", "gateway.yaml", "keys.yaml"):
        (mount / name).symlink_to(Path("..data") / name)
    folder.sources.gateway.write_text("retries: 2\n")
    linked = Sources(mount / "model_cards", mount / "policies", mount / "evidence", mount / "gateway.yaml", mount / "k")
    live = ConfigReloader(loader(linked, IndifferentPredictor()), linked, tell=lambda _: None)  # type: ignore[arg-type]

    async def main() -> None:
        async with watching(live):
            for turn in (2, 3, 4):
                new = Folder(mount / f"..2026_{turn}")
                new.card(f"c{turn}")
                new.sources.gateway.write_text(f"retries: {turn}\n")
                (mount / "..data_tmp").symlink_to(f"..2026_{turn}")
                (mount / "..data_tmp").rename(mount / "..data")
                shutil.rmtree(mount / f"..2026_{turn - 1}")
                await until(lambda expected=turn: live.current.config.retries == expected)  # type: ignore[misc]
                await until(lambda expected=turn: ids(live) == ("a", "b", f"c{expected}"))  # type: ignore[misc]

    asyncio.run(main())


def test_the_last_keys_stay_where_the_file_of_keys_goes_or_is_emptied(folder: Folder) -> None:
    folder.keys("ci")

    async def steps(live: ConfigReloader) -> None:
        folder.sources.keys.unlink()
        await until(lambda: live.problem is not None)
        assert "holds no key any more" in str(live.problem)
        assert live.current.keys.find("ci") is not None
        folder.keys("other")
        await until(lambda: live.problem is None)
        assert live.current.keys.find("ci") is None
        folder.sources.keys.write_text("keys: []\n")
        await until(lambda: live.problem is not None)
        assert live.current.keys.find("other") is not None

    run(folder, steps)


def test_sighup_reads_everything_anew_and_says_what_it_found(folder: Folder) -> None:
    lines: list[str] = []
    live = folder.live(lines)

    async def main() -> None:
        live.reload_soon()
        await until(lambda: len(lines) == 1)
        folder.card("c")
        await live.reload()
        (folder.sources.cards / "c.yaml").write_text("id: c\n")
        await live.reload()
        await live.reload()

    asyncio.run(main())
    assert lines[:2] == ["read the configuration anew: nothing has changed", "took over an edit: cards: +c"]
    assert len(lines) == 4
    assert all(line.startswith("refused an edit") for line in lines[2:])


def test_an_edit_that_makes_the_reader_stumble_ends_nothing(folder: Folder) -> None:
    good = loader(folder.sources, IndifferentPredictor())  # type: ignore[arg-type]

    def load(before: ActiveConfig | None) -> ActiveConfig:
        if (folder.sources.cards / "odd.yaml").exists():
            raise ZeroDivisionError if (folder.root / "never").exists() else RuntimeError("odd")
        return good(before)

    live = ConfigReloader(load, folder.sources, tell=lambda _: None)

    async def main() -> None:
        async with watching(live):
            folder.card("odd")
            await until(lambda: live.problem == "RuntimeError: odd")
            (folder.sources.cards / "odd.yaml").unlink()
            folder.card("c")
            await until(lambda: ids(live) == ("a", "b", "c"))

    asyncio.run(main())


def test_readers_always_see_a_whole_configuration_while_it_changes_hundreds_of_times(folder: Folder) -> None:
    """Every edit changes three files, two of which have to agree."""
    folder.policy("default", fallbacks=1)
    live = folder.live()
    numbers: list[int] = []

    async def read() -> None:
        while True:
            current = live.current
            numbers.append(current.number)
            catalog = current.router.catalog
            # Between reading the number and the rest nothing may be swapped below us.
            await asyncio.sleep(0)
            assert current.router.catalog is catalog
            assert catalog.ids[:2] == ("a", "b")
            assert current.router.policies["default"].fallbacks == current.config.retries
            await asyncio.sleep(0.001)

    async def main() -> None:
        reading = asyncio.create_task(read())
        for turn in range(300):
            count = turn % 10
            folder.card(f"c{turn % 7}", price=float(turn + 1))
            folder.policy("default", fallbacks=count)
            folder.sources.gateway.write_text(f"retries: {count}\n")
            await live.reload()
            assert live.current.config.retries == count
            assert not reading.done()
        reading.cancel()

    asyncio.run(main())
    assert live.current.number == 301
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 100


def test_a_cancelled_watch_ends_at_once_and_leaves_no_thread_behind(folder: Folder) -> None:
    async def main() -> None:
        live = folder.live()
        for _ in range(3):
            task = asyncio.create_task(live.watch())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_the_fingerprint_goes_by_content_and_not_by_place_or_time(tmp_path: Path) -> None:
    one, two = Folder(tmp_path / "one"), Folder(tmp_path / "two")
    assert one.sources.fingerprint() == two.sources.fingerprint()
    two.card("b", price=3.0)
    assert one.sources.fingerprint() != two.sources.fingerprint()
    two.card("b")
    assert one.sources.fingerprint() == two.sources.fingerprint()
    (two.sources.cards / "b.yaml").rename(two.sources.cards / "c.yaml")
    assert one.sources.fingerprint() != two.sources.fingerprint()


def test_the_folders_of_every_link_on_the_way_are_watched(tmp_path: Path) -> None:
    real, mount = tmp_path / "real", tmp_path / "mount"
    (real / "one").mkdir(parents=True)
    mount.mkdir()
    (real / "one" / "keys.yaml").touch()
    (real / "current").symlink_to("one")
    (mount / "keys.yaml").symlink_to("../real/current/keys.yaml")
    missing = tmp_path / "not" / "there" / "yet"
    sources = Sources(missing, missing, missing, missing, mount / "keys.yaml")
    on_the_way = {mount, real, real / "one", real / "current", tmp_path}
    assert {folder for folder, _ in sources.watched()} == {str(folder) for folder in on_the_way}


def test_links_that_lead_in_a_circle_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    sources = Sources(*(tmp_path / "a" for _ in range(5)))
    assert {folder for folder, _ in sources.watched()} == {str(tmp_path)}
    assert sources.stamps() == ()
