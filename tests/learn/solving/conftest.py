from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.conftest import run

__all__ = ["here", "run"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POOL_KEY", "sk-test")
    for name in ("PULVINAR_EVIDENCE", "PULVINAR_CARDS", "PULVINAR_PLANS", "PULVINAR_POLICIES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
