from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.decide.plans.forecast.columns import Columns, PlanColumn
from router.errors import ConfigurationError
from router.gateway.config import reload
from router.gateway.config.keys import hash_of
from router.gateway.config.reload import ActiveConfig, ConfigReloader, loader
from router.gateway.config.sources import Sources
from router.perceive.purpose.profile import Profile
from router.perceive.purpose.profile_file import write_profile
from tests.gateway.servers import IndifferentPredictor

SECONDS = 20.0
"""A generous timeout: on an idle machine, every wait takes well under a second."""


class Folder:
    """A gateway's configuration in a folder: cards `a` and `b`, one policy, no keys, no settings."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources = Sources(
            root / "model_cards",
            root / "policies",
            root / "evidence",
            root / "gateway.yaml",
            root / "keys.yaml",
            root / "plans",
            root / "profiles",
        )
        self.sources.cards.mkdir(parents=True)
        self.sources.policies.mkdir()
        (root / "plans").mkdir()
        self.card("a")
        self.card("b")
        self.policy("default")

    def card(self, id_: str, price: float = 1.0) -> None:
        text = f"id: {id_}\nprovider: openai\nmodel: {id_}\nprice: {{input: {price}$, output: {price}$}}\n"
        (self.sources.cards / f"{id_}.yaml").write_text(text)

    def policy(self, id_: str, fallbacks: int = 3) -> None:
        text = f"id: {id_}\ndescription: Cheap first.\ngoals: {{cheapest: 1}}\nfallbacks: {fallbacks}\n"
        (self.sources.policies / f"{id_}.yaml").write_text(text)

    def plan(self, id_: str, *members: str) -> None:
        text = f"id: {id_}\nkind: cascade\ndescription: d\nmembers: [{', '.join(members)}]\n"
        (self.root / "plans" / f"{id_}.yaml").write_text(text)

    def keys(self, *ids: str) -> None:
        entries = [f"  - id: {id_}\n    hash: {hash_of(id_)}\n" for id_ in ids]
        self.sources.keys.write_text("keys:\n" + "".join(entries))

    def reloader(self, lines: list[str] | None = None, **options: Any) -> ConfigReloader:
        load = loader(self.sources, IndifferentPredictor())  # type: ignore[arg-type]
        return ConfigReloader(load, self.sources, notify=(lines if lines is not None else []).append, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "etc")


def test_plans_keep_the_columns_of_the_artifact_after_a_reload(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    weights, calls = ((0.0, 1.0, 1.0),), ((0.0, 0.0),)
    column = PlanColumn("cascade", ("a", "b"), 0, None, (0.0,), weights, calls, ((0.0,),), 0.01, 300, "exams")
    columns = Columns([column])
    load = loader(folder.sources, IndifferentPredictor(), columns=columns)  # type: ignore[arg-type]
    before = load(None)
    folder.plan("ladder", "a", "b")
    after = load(before)
    assert before.router.plans.columns == after.router.plans.columns == columns
    assert columns.of(after.router.plans["ladder"], ("a", "b")) is column


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def watching(reloader: ConfigReloader) -> AsyncIterator[ConfigReloader]:
    task = asyncio.create_task(reloader.watch())
    try:
        yield reloader
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(folder: Folder, steps: Callable[[ConfigReloader], Awaitable[None]], **options: Any) -> list[str]:
    """Run `steps` while the folder is watched, and return the lines for the operator."""
    lines: list[str] = []

    async def main() -> None:
        async with watching(folder.reloader(lines, **options)) as reloader:
            await steps(reloader)

    asyncio.run(main())
    return lines


def ids(reloader: ConfigReloader) -> tuple[str, ...]:
    return reloader.current.router.catalog.ids


def test_an_invalid_file_at_the_start_is_an_error(folder: Folder) -> None:
    folder.sources.gateway.write_text("retrys: 1\n")
    with pytest.raises(ConfigurationError, match=r'gateway\.yaml:1: unknown key "retrys"; did you mean "retries"\?'):
        folder.reloader()


def test_a_missing_default_policy_at_the_start_is_an_error(folder: Folder) -> None:
    folder.policy("cheap")
    (folder.sources.policies / "default.yaml").unlink()
    with pytest.raises(ConfigurationError, match='there is no policy "default", which the model name "auto" needs'):
        folder.reloader()


def test_cards_are_added_removed_and_changed_while_it_runs(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        folder.card("c")
        (folder.sources.cards / "a.yaml").unlink()
        folder.card("b", price=2.0)
        await until(lambda: ids(reloader) == ("b", "c"))
        await until(lambda: reloader.current.router.catalog.named("b").price.output_usd == 2.0)  # type: ignore[union-attr]

    lines = run(folder, steps)
    assert lines == ["configuration reloaded: cards: +c, -a, ~b"]


def test_policies_settings_and_keys_change_while_it_runs(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        folder.policy("default", fallbacks=1)
        await until(lambda: reloader.current.router.policies["default"].fallbacks == 1)
        folder.sources.gateway.write_text("retries: 0\n")
        await until(lambda: reloader.current.config.retries == 0)
        folder.keys("ci")
        await until(lambda: reloader.current.keys.find("ci") is not None)
        assert reloader.current.number == 4

    lines = run(folder, steps)
    assert lines == [
        "configuration reloaded: policies: ~default",
        "configuration reloaded: gateway: ~retries",
        "configuration reloaded: keys: +ci",
    ]


def test_new_keys_or_settings_reuse_the_router(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        router = reloader.current.router
        folder.keys("ci")
        await until(lambda: bool(reloader.current.keys))
        assert reloader.current.router is router
        folder.card("c")
        await until(lambda: reloader.current.router is not router)

    run(folder, steps)


def test_new_evidence_of_a_card_is_loaded(folder: Folder) -> None:
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

    async def steps(reloader: ConfigReloader) -> None:
        # The folder did not exist before, so this also tests a new folder.
        folder.sources.evidence.mkdir()
        (folder.sources.evidence / "a.jsonl").write_text(json.dumps(outcome) + "\n")
        await until(lambda: "a" in reloader.current.evidence)

    assert run(folder, steps) == ["configuration reloaded: evidence: +a"]


def test_a_new_profile_of_a_card_is_loaded_and_a_damaged_one_is_rejected(folder: Folder) -> None:
    numbers = np.zeros(3, dtype=np.float32)
    of_no_outcomes = "", np.zeros((0, 0), dtype=np.float32), np.zeros(0)
    made = Profile("0" * 16, 5, numbers, np.zeros((1, 3), dtype=np.float32), numbers, *of_no_outcomes)

    async def steps(reloader: ConfigReloader) -> None:
        # The folder did not exist before.
        write_profile(folder.root / "profiles" / "a.npz", made)
        await until(lambda: "a" in reloader.current.profiles)
        (folder.root / "profiles" / "b.npz").write_bytes(b"damaged")
        await until(lambda: reloader.problem is not None)
        assert "b.npz: is no profile of a card" in str(reloader.problem)
        assert set(reloader.current.profiles) == {"a"}

    assert run(folder, steps)[0] == "configuration reloaded: profiles: +a"


def test_an_invalid_change_is_rejected_reported_once_and_can_be_corrected(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        broken = folder.sources.cards / "c.yaml"
        broken.write_text("id: c\nprovidr: openai\n")
        await until(lambda: reloader.problem is not None)
        assert reloader.problem == f'{broken}:2: unknown key "providr"; did you mean "provider"?'
        assert ids(reloader) == ("a", "b")
        # Other changes are not applied meanwhile, and the same problem is not reported again.
        folder.card("d")
        await asyncio.sleep(1)
        assert ids(reloader) == ("a", "b")
        folder.card("c")
        await until(lambda: reloader.problem is None)
        assert ids(reloader) == ("a", "b", "c", "d")

    lines = run(folder, steps)
    rejected, applied = lines
    assert rejected.startswith("configuration change rejected; keeping the previous one: ")
    assert applied == "configuration reloaded: cards: +c, +d"


def test_an_invalid_change_that_is_undone_does_not_create_a_new_configuration(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        (folder.sources.cards / "c.yaml").write_text("id: c\n")
        await until(lambda: reloader.problem is not None)
        (folder.sources.cards / "c.yaml").unlink()
        await until(lambda: reloader.problem is None)
        assert reloader.current.number == 1

    assert run(folder, steps)[1:] == ["configuration error resolved: the files match the active configuration again"]


def test_a_rewritten_file_with_the_same_content_is_no_change(folder: Folder) -> None:
    changed: list[ActiveConfig] = []

    async def steps(reloader: ConfigReloader) -> None:
        folder.card("a")
        os.utime(folder.sources.cards / "b.yaml")
        (folder.sources.cards / "notes.txt").write_text("not a card")
        folder.card("c")
        await until(lambda: ids(reloader) == ("a", "b", "c"))
        folder.card("c")
        await asyncio.sleep(1)
        assert reloader.current.number == 2

    run(folder, steps, on_change=changed.append)
    assert [active.number for active in changed] == [2]


def test_on_change_is_called_after_the_configuration_is_replaced(folder: Folder) -> None:
    seen: list[bool] = []
    holder: list[ConfigReloader] = []

    def note(loaded: ActiveConfig) -> None:
        seen.append(holder[0].current is loaded)
        raise ConfigurationError("callback failed")

    async def steps(reloader: ConfigReloader) -> None:
        holder.append(reloader)
        folder.card("c")
        await until(lambda: len(seen) == 1)
        # An error in the callback does not end the watch.
        folder.card("d")
        await until(lambda: len(seen) == 2)

    run(folder, steps, on_change=note)
    assert seen == [True, True]


def test_every_replacement_of_a_file_by_an_editor_is_detected(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        folder.sources.gateway.write_text("retries: 2\n")
        for retries in (3, 4, 5):
            other = folder.root / f".gateway.yaml.{retries}"
            other.write_text(f"retries: {retries}\n")
            other.rename(folder.sources.gateway)
            await until(lambda expected=retries: reloader.current.config.retries == expected)  # type: ignore[misc]

    run(folder, steps)


def test_a_file_that_is_missing_for_a_moment_is_not_reported(folder: Folder) -> None:
    folder.sources.gateway.write_text("retries: 2\n")
    seen: list[int] = []

    async def steps(reloader: ConfigReloader) -> None:
        # As vim does with `backupcopy=no`, on a slow disk.
        folder.sources.gateway.rename(folder.root / "gateway.yaml~")
        await asyncio.sleep(0.2)
        folder.sources.gateway.write_text("retries: 3\n")
        await until(lambda: reloader.current.config.retries == 3)

    run(folder, steps, on_change=lambda loaded: seen.append(loaded.config.retries))
    assert seen == [3]


def test_a_folder_that_is_deleted_and_recreated_is_watched_again(folder: Folder) -> None:
    async def steps(reloader: ConfigReloader) -> None:
        for name in ("c", "d", "e"):
            shutil.rmtree(folder.sources.cards)
            await until(lambda: reloader.problem is not None)
            assert "does not exist" in str(reloader.problem)
            folder.sources.cards.mkdir()
            folder.card(name)
            await until(lambda expected=name: ids(reloader) == (expected,))  # type: ignore[misc]
            folder.card(f"{name}2")
            await until(lambda expected=name: ids(reloader) == (expected, f"{expected}2"))  # type: ignore[misc]

    run(folder, steps)


def test_updates_of_a_kubernetes_config_map_are_detected_through_its_links(tmp_path: Path) -> None:
    """The kubelet writes a new folder, and atomically points the link `..data` to it."""
    folder = Folder(tmp_path / "mount" / "..2026_1")
    mount = tmp_path / "mount"
    (mount / "..data").symlink_to("..2026_1")
    for name in ("model_cards", "policies", "gateway.yaml", "keys.yaml"):
        (mount / name).symlink_to(Path("..data") / name)
    folder.sources.gateway.write_text("retries: 2\n")
    linked = Sources(mount / "model_cards", mount / "policies", mount / "evidence", mount / "gateway.yaml", mount / "k")
    reloader = ConfigReloader(loader(linked, IndifferentPredictor()), linked, notify=lambda _: None)  # type: ignore[arg-type]

    async def main() -> None:
        async with watching(reloader):
            for turn in (2, 3, 4):
                new = Folder(mount / f"..2026_{turn}")
                new.card(f"c{turn}")
                new.sources.gateway.write_text(f"retries: {turn}\n")
                (mount / "..data_tmp").symlink_to(f"..2026_{turn}")
                (mount / "..data_tmp").rename(mount / "..data")
                shutil.rmtree(mount / f"..2026_{turn - 1}")
                await until(lambda expected=turn: reloader.current.config.retries == expected)  # type: ignore[misc]
                await until(lambda expected=turn: ids(reloader) == ("a", "b", f"c{expected}"))  # type: ignore[misc]

    asyncio.run(main())


def test_the_previous_keys_stay_active_when_the_keys_file_is_deleted_or_emptied(folder: Folder) -> None:
    folder.keys("ci")

    async def steps(reloader: ConfigReloader) -> None:
        folder.sources.keys.unlink()
        await until(lambda: reloader.problem is not None)
        assert "no keys left in the file; keeping the previous keys. Restart to run without authentication" in str(
            reloader.problem
        )
        assert reloader.current.keys.find("ci") is not None
        folder.keys("other")
        await until(lambda: reloader.problem is None)
        assert reloader.current.keys.find("ci") is None
        folder.sources.keys.write_text("keys: []\n")
        await until(lambda: reloader.problem is not None)
        assert reloader.current.keys.find("other") is not None

    run(folder, steps)


def test_sighup_reloads_everything_and_reports_the_result(folder: Folder) -> None:
    lines: list[str] = []
    reloader = folder.reloader(lines)

    async def main() -> None:
        reloader.reload_soon()
        await until(lambda: len(lines) == 1)
        folder.card("c")
        await reloader.reload()
        (folder.sources.cards / "c.yaml").write_text("id: c\n")
        await reloader.reload()
        await reloader.reload()

    asyncio.run(main())
    assert lines[:2] == ["configuration reloaded: no changes", "configuration reloaded: cards: +c"]
    assert len(lines) == 4
    assert all(line.startswith("configuration change rejected") for line in lines[2:])


def test_an_unexpected_error_of_the_loader_does_not_end_the_watch(folder: Folder) -> None:
    working = loader(folder.sources, IndifferentPredictor())  # type: ignore[arg-type]

    def load(before: ActiveConfig | None) -> ActiveConfig:
        if (folder.sources.cards / "odd.yaml").exists():
            raise ZeroDivisionError if (folder.root / "never").exists() else RuntimeError("odd")
        return working(before)

    reloader = ConfigReloader(load, folder.sources, notify=lambda _: None)

    async def main() -> None:
        async with watching(reloader):
            folder.card("odd")
            await until(lambda: reloader.problem == "RuntimeError: odd")
            (folder.sources.cards / "odd.yaml").unlink()
            folder.card("c")
            await until(lambda: ids(reloader) == ("a", "b", "c"))

    asyncio.run(main())


def test_readers_always_see_a_consistent_configuration_during_hundreds_of_changes(folder: Folder) -> None:
    """Every change edits three files, two of which have to match."""
    folder.policy("default", fallbacks=1)
    reloader = folder.reloader()
    numbers: list[int] = []

    async def read() -> None:
        while True:
            current = reloader.current
            numbers.append(current.number)
            catalog = current.router.catalog
            # The configuration must not be replaced between reading its number and the rest.
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
            await reloader.reload()
            assert reloader.current.config.retries == count
            assert not reading.done()
        reading.cancel()

    asyncio.run(main())
    assert reloader.current.number == 301
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 100


def test_a_cancelled_watch_ends_at_once_and_leaves_no_thread_behind(folder: Folder) -> None:
    async def main() -> None:
        reloader = folder.reloader()
        for _ in range(3):
            task = asyncio.create_task(reloader.watch())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        while any(thread.name.startswith("watch_") for thread in threading.enumerate()):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_the_fingerprint_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    one, two = Folder(tmp_path / "one"), Folder(tmp_path / "two")
    assert one.sources.fingerprint() == two.sources.fingerprint()
    two.card("b", price=3.0)
    assert one.sources.fingerprint() != two.sources.fingerprint()
    two.card("b")
    assert one.sources.fingerprint() == two.sources.fingerprint()
    (two.sources.cards / "b.yaml").rename(two.sources.cards / "c.yaml")
    assert one.sources.fingerprint() != two.sources.fingerprint()


def test_the_folder_of_every_symbolic_link_is_watched(tmp_path: Path) -> None:
    real, mount = tmp_path / "real", tmp_path / "mount"
    (real / "one").mkdir(parents=True)
    mount.mkdir()
    (real / "one" / "keys.yaml").touch()
    (real / "current").symlink_to("one")
    (mount / "keys.yaml").symlink_to("../real/current/keys.yaml")
    missing = tmp_path / "not" / "there" / "yet"
    sources = Sources(missing, missing, missing, missing, mount / "keys.yaml")
    folders = {mount, real, real / "one", real / "current", tmp_path}
    assert {folder for folder, _ in sources.watched()} == {str(folder) for folder in folders}


def test_circular_links_are_tolerated(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    sources = Sources(*(tmp_path / "a" for _ in range(5)))
    assert {folder for folder, _ in sources.watched()} == {str(tmp_path)}
    assert sources.stamps() == ()


def test_many_signals_at_once_reload_twice_at_most(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    async def steps(reloader: ConfigReloader) -> None:
        for _ in range(200):
            reloader.reload_soon()
            await asyncio.sleep(0)
        await until(lambda: "configuration reloaded: no changes" in lines)
        reloader.reload_soon()
        await until(lambda: not reloader._reloading)

    async def main() -> None:
        await steps(folder.reloader(lines))

    monkeypatch.setattr(reload, "_PAUSE_S", 0.0)
    asyncio.run(main())
    assert 1 <= lines.count("configuration reloaded: no changes") <= 3


def test_signals_without_end_reload_once_per_pause(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "_PAUSE_S", 3600.0)
    lines: list[str] = []

    async def main() -> None:
        reloader = folder.reloader(lines)
        for _ in range(20):
            reloader.reload_soon()
            await until(lambda: bool(lines))
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert lines == ["configuration reloaded: no changes"]


def test_plans_are_reloaded_and_a_wrong_one_keeps_the_configuration(folder: Folder) -> None:
    async def edit() -> None:
        lines: list[str] = []
        reloader = folder.reloader(lines)
        folder.plan("ladder", "a", "b")
        await reloader.reload()
        assert lines == ["configuration reloaded: plans: +ladder"]
        folder.plan("ladder", "a", "c")
        await reloader.reload()
        assert reloader.current.router.plans["ladder"].members == ("a", "b")
        assert reloader.problem is not None
        assert 'ladder.yaml:4: members.1: there is no card "c"' in reloader.problem
        (folder.sources.cards / "b.yaml").unlink()
        folder.plan("ladder", "a", "b")
        await reloader.reload()
        assert "b" in reloader.current.router.catalog.ids

    asyncio.run(edit())
