"""Records that wait for their database: shown to operators, and no reason to send no requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from router import Router
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.store.database import DatabaseError
from router.store.records.journal import Destination, Journal
from router.store.records.protocol import RecordArchive
from tests.gateway.dashboard.conftest import KEYS, shipped
from tests.gateway.servers import make_gateway, served

__all__ = ["shipped"]


def unreachable() -> RecordArchive:
    raise DatabaseError("postgresql://me@db/records", None, "cannot be reached")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("boss", "postgresql://me@db/records: cannot be reached"),
        ("ann", "the database of records cannot be written; a key with `operator: true` reads why"),
    ],
)
def test_why_records_wait_is_for_operators(shipped: Router, tmp_path: Path, key: str, problem: str) -> None:
    parts: dict[str, Any] = {"journal": Journal.open(tmp_path, Destination(unreachable, "journal"))}
    app = make_app(make_gateway(shipped, GatewayConfig(), KEYS, **parts))
    with served(app) as url:
        ready = httpx.get(f"{url}/readyz", headers={"authorization": f"Bearer {key}"}, trust_env=False)
    assert (ready.status_code, ready.json()["records_problem"]) == (200, problem)
