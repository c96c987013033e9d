"""Clients that ask and do not read the answer, in front of `route serve` in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from bench.gateway.processes import Server, Start
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session")
SLOTS = 4


@contextlib.contextmanager
def gateway(
    warm: Callable[[Start], Start], folder: Path, upstream: Upstream, **timeouts: str
) -> Iterator[tuple[str, Server]]:
    cards = [fault_card(name, upstream.url, name) for name in ("ok", "long-stream", "long-body")]
    settings: dict[str, Any] = {"max_concurrency": SLOTS, "shares": {"card": 1}, "queue": {"wait": "200ms"}}
    with served(warm(route_serve(folder, cards, {**settings, "timeouts": timeouts}))) as running:
        yield running


@contextlib.contextmanager
def silent_clients(url: str, card: str, stream: bool) -> Iterator[None]:
    """Clients that hold every slot, and read nothing."""
    address = urlsplit(url)
    body = json.dumps({"model": card, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(SLOTS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((address.hostname, address.port))
            client.sendall(head + body)
        yield


def status(url: str) -> int:
    body = {"model": "ok", "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False, timeout=20).status_code


CASES = pytest.mark.parametrize(("card", "stream"), [("long-stream", True), ("long-body", False)])


@pytest.fixture(scope="module")
def patient(
    upstream: Upstream, warm: Callable[[Start], Start], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a gateway that waits two seconds for a client that does not read."""
    with gateway(warm, tmp_path_factory.mktemp("patient"), upstream, send="2s") as (url, _):
        yield url


@CASES
def test_clients_that_do_not_read_lose_their_slots(patient: str, card: str, stream: bool) -> None:
    assert wait_for(lambda: status(patient) == 200, 20)
    with silent_clients(patient, card, stream):
        assert wait_for(lambda: status(patient) == 503, 10)
        assert wait_for(lambda: status(patient) == 200, 20)


@CASES
def test_a_client_that_does_not_read_does_not_keep_the_process(
    upstream: Upstream, warm: Callable[[Start], Start], tmp_path: Path, card: str, stream: bool
) -> None:
    with gateway(warm, tmp_path, upstream, total="2s") as (url, server), silent_clients(url, card, stream):
        assert wait_for(lambda: status(url) == 503, 10)
        os.kill(server.pid, signal.SIGTERM)
        assert wait_for(lambda: has_ended(server.pid), 20)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
