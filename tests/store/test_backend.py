from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from router.errors import ConfigurationError
from router.store import open_store
from router.store.backend import FolderBackend, StateUse
from tests.store.records.examples import record


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("store", "store"),
        ("/var/store", "/var/store"),
        (Path("/var/store"), "/var/store"),
        ("sqlite:///store", "store"),
        ("sqlite:////var/store", "/var/store"),
        ("SQLite:////var/a b", "/var/a b"),
        ("C://store", "C:/store"),
    ],
)
def test_a_path_and_an_sqlite_url_name_a_folder(url: str | Path, folder: str) -> None:
    assert open_store(url) == FolderBackend(Path(folder))


def test_a_path_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert open_store("~/store") == FolderBackend(Path("/home/someone/store"))


@pytest.mark.parametrize(
    ("scheme", "hint"),
    [
        ("redis", "; state in Redis is chosen with --state"),
        ("postgresql", "; records in PostgreSQL are chosen with --records"),
        ("mysql", ""),
        ("sqlit", ""),
    ],
)
def test_an_unknown_scheme_is_a_configuration_error_that_names_the_known_ones(scheme: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        open_store(f"{scheme}://localhost:1234/0")
    assert str(error.value) == (
        f'cannot open the store "{scheme}://localhost:1234/0": unknown scheme "{scheme}"; '
        f"use a folder or sqlite:///folder{hint}"
    )


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/store"])
def test_an_sqlite_url_without_a_folder_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=f'cannot open the store "{url}": it names no folder'):
        open_store(url)


def test_redis_is_imported_only_where_it_is_used_and_its_absence_is_a_clear_error(tmp_path: Path) -> None:
    program = """
import sys
from router.errors import MissingExtraError
from router.gateway.server import serve
from router.store import open_store
from router.store.backend import StateUse
open_store(sys.argv[1]).shared_state(StateUse()).close()
backend = open_store(sys.argv[1], state="redis://localhost")
assert "redis" not in sys.modules
sys.modules["redis"] = None
try:
    backend.shared_state(StateUse())
except MissingExtraError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "store")]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert completed.stdout == "a shared state in Redis or Valkey needs redis: pip install 'pulvinar[redis]'\n"


def test_records_and_state_of_a_backend_are_in_its_folder(tmp_path: Path) -> None:
    backend = open_store(tmp_path / "store")
    assert backend.read_records() is None
    assert not (tmp_path / "store").exists()
    sink = backend.record_sink(keep_days=None)
    sink.append(record("one"))
    sink.close()
    assert sink.dropped == 0
    records = backend.read_records()
    assert records is not None
    with records:
        assert [stored.id for stored in records.scan()] == ["one"]
    state = backend.shared_state(StateUse())
    assert asyncio.run(state.last_answer("talk", 0.0)) is None
    state.close()
    assert (tmp_path / "store" / "state.sqlite").exists()
