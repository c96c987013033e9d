"""`route serve --records postgresql://…`: killed, and without its database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Start
from router.store.backend import FolderBackend
from tests import postgres
from tests.faults.process import route_serve, served
from tests.gateway.servers import make_card
from tests.postgres import PASSWORD, Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres.running() as server:
        yield server


def metric(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def test_a_killed_gateway_and_a_killed_database_lose_no_answered_request(
    tmp_path: Path, warm: Callable[[Start], Start], server: Server
) -> None:
    with server.database() as database:
        start = route_serve(tmp_path, [make_card("poet", "http://127.0.0.1:9/v1")], arguments=("--records", database))
        with served(warm(start)) as (url, process), httpx.Client(base_url=url, trust_env=False) as client:
            answered = [client.get("/v1/models").headers["x-request-id"] for _ in range(20)]
            assert metric(url, "pulvinar_records_ok") == 1
            server.kill()
            answered += [client.get("/v1/models").headers["x-request-id"] for _ in range(20)]
            wait_until(lambda: metric(url, "pulvinar_records_ok") == 0)
            assert metric(url, "pulvinar_records_waiting_bytes") > 0
            assert client.get("/readyz").status_code == 200
            os.kill(process.pid, signal.SIGKILL)
        server.start()
        records = FolderBackend(tmp_path / "store", records_url=database).read_records()
        assert records is not None
        with records:
            stored = {record.id for record in records.scan()}
        assert set(answered) - stored == set()
        assert not (tmp_path / "store" / "records.sqlite").exists()
        assert PASSWORD not in (tmp_path / "serve.log").read_text()
