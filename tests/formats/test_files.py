"""Files that several processes share."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from router.formats.files import lock, replace_file, replacing

TRY_TO_LOCK = "import sys; from router.formats.files import lock; file = open(sys.argv[1]); print(lock(file.fileno()))"


def write_halfway(file: Path) -> None:
    with replacing(file) as part:
        part.write_text("half")
        raise OSError("halfway")


def test_a_file_is_replaced_with_its_mode_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("old")
    file.chmod(0o640)
    replace_file(file, b"new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_missing_file_is_created(tmp_path: Path) -> None:
    replace_file(tmp_path / "new.json", b"{}")
    assert [file.name for file in tmp_path.iterdir()] == ["new.json"]
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o600


def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("old")
    with pytest.raises(OSError, match="halfway"):
        write_halfway(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_locked_file_cannot_be_locked_by_another_process(tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    file.touch()
    command = [sys.executable, "-c", TRY_TO_LOCK, str(file)]
    with file.open() as stream:
        assert lock(stream.fileno())
        assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "False\n"
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "True\n"


def test_waiting_for_a_free_lock_returns_at_once(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert lock(descriptor, wait=True)
    finally:
        os.close(descriptor)
