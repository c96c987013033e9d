"""SIGTERM: the gateway reports not ready, completes running requests, then exits."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Server, Start
from tests.faults.faults import COMPLETE
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.surfaces import Response, problems, send
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session")


@pytest.fixture
def gateway(upstream: Upstream, warm: Callable[[Start], Start], tmp_path: Path) -> Iterator[tuple[str, Server]]:
    cards = [fault_card(name, upstream.url, name) for name in ("ok", "pauses")]
    with served(warm(route_serve(tmp_path, cards, arguments=("--drain", "2")))) as running:
        yield running


def readiness(url: str) -> int | None:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code
    except httpx.TransportError:
        return None


def test_running_streams_complete_while_the_gateway_is_not_ready(
    gateway: tuple[str, Server], upstream: Upstream
) -> None:
    url, server = gateway
    responses: list[Response] = []

    def stream() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            responses.append(send(client, "openai", "pauses", True))

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
    assert [problems(response, COMPLETE, "openai", True) for response in responses] == [[]] * 4
    # The process has exited and no longer listens.
    assert wait_for(lambda: readiness(url) is None, 5)


def test_a_process_without_requests_exits_at_once(gateway: tuple[str, Server]) -> None:
    url, server = gateway
    os.kill(server.pid, signal.SIGTERM)
    assert wait_for(lambda: readiness(url) is None, 3)
