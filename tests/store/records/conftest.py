"""Both kinds of databases of records: what holds for one holds for the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.store.backend import FolderBackend

KINDS = ("sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> FolderBackend:
    """An empty store."""
    url = request.getfixturevalue("emptied_postgres_url") if request.param == "postgresql" else None
    return FolderBackend(tmp_path, records_url=url)
