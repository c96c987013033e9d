"""SIGTERM: no new work is announced, what runs ends well, then the process does."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Server
from tests.faults.faults import COMPLETE
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.surfaces import Answer, ask, problems
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts a session of processes")


@pytest.fixture
def gateway(upstream: Upstream, tmp_path: Path) -> Iterator[tuple[str, Server]]:
    cards = [fault_card(name, upstream.url, name) for name in ("ok", "pauses")]
    with served(route_serve(tmp_path, cards)) as running:
        yield running


def readiness(url: str) -> int | None:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code
    except httpx.TransportError:
        return None


def test_streams_end_well_while_readiness_is_refused(gateway: tuple[str, Server], upstream: Upstream) -> None:
    url, server = gateway
    answers: list[Answer] = []

    def stream() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            answers.append(ask(client, "openai", "pauses", True))

    assert readiness(url) == 200
    before = len(upstream.seen)
    clients = [threading.Thread(target=stream) for _ in range(4)]
    for client in clients:
        client.start()
    assert wait_for(lambda: len(upstream.seen) == before + 4)
    os.kill(server.pid, signal.SIGTERM)
    assert wait_for(lambda: readiness(url) == 503)
    for client in clients:
        client.join()
    assert [problems(answer, COMPLETE, "openai", True) for answer in answers] == [[]] * 4
    # What has ended is nobody's any more, and answers nothing.
    assert wait_for(lambda: readiness(url) is None, 5)


def test_a_process_without_work_ends_at_once(gateway: tuple[str, Server]) -> None:
    url, server = gateway
    os.kill(server.pid, signal.SIGTERM)
    assert wait_for(lambda: readiness(url) is None, 3)
