"""SIGKILL under load: every complete response has a record afterwards, and the database is intact."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Start
from router.store.records.sqlite import SqliteRecords
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.surfaces import Surface, send
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session"),
]
KILLS, CLIENTS = 2, 8
# Long enough that records are being written to the database at the kill.
LOAD_S = 0.6


def send_requests(url: str, answered: list[str]) -> None:
    """Send requests until the gateway has exited; ids of requests with complete responses are added to `answered`."""
    surfaces: tuple[Surface, ...] = ("openai", "anthropic")
    cases = itertools.cycle(itertools.product(surfaces, (False, True), ("ok", "auto[tag=with-fallback]")))
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client, contextlib.suppress(httpx.TransportError):
        for surface, stream, model in cases:
            response = send(client, surface, model, stream)
            if response.broken:
                return
            assert response.status == 200, response.body
            answered.append(response.headers["x-request-id"])


def _are_more_than(answered: list[str], number: int) -> bool:
    return len(answered) > number


@pytest.mark.parametrize("workers", [1, 2])
def test_every_complete_response_has_a_record_after_a_kill(
    upstream: Upstream, warm: Callable[[Start], Start], tmp_path: Path, workers: int
) -> None:
    cards = [
        fault_card("ok", upstream.url, "ok"),
        fault_card("failing", upstream.url, "server-error", tags=("with-fallback",)),
    ]
    cards.append(fault_card("fallback", upstream.url, "ok", tags=("with-fallback",), price=9.0))
    arguments = ("--workers", str(workers))
    answered: list[str] = []
    for _ in range(KILLS):
        with served(warm(route_serve(tmp_path, cards, arguments=arguments))) as (url, server):
            minimum = len(answered) + CLIENTS
            clients = [threading.Thread(target=send_requests, args=(url, answered)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            assert wait_for(functools.partial(_are_more_than, answered, minimum), 10)
            time.sleep(LOAD_S)
            os.killpg(server.pid, signal.SIGKILL)
            for client in clients:
                client.join()
    # The next start recovers the records of the killed processes.
    with served(warm(route_serve(tmp_path, cards, arguments=arguments))) as (url, server):
        os.kill(server.pid, signal.SIGTERM)
        assert wait_for(lambda: not Path(f"/proc/{server.pid}/cmdline").read_bytes(), 15)
    with SqliteRecords.open(tmp_path / "store", read_only=True) as records:
        recorded = {record.id for record in records.scan()}
    assert set(answered) - recorded == set()
    assert len(answered) > CLIENTS * KILLS
    with contextlib.closing(sqlite3.connect(tmp_path / "store" / "records.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
