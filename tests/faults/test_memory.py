"""Huge responses are relayed or rejected, and never buffered as a whole."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Server
from router.dispatch.bodies.whole import MAX_RESPONSE_BYTES
from tests.faults.gateways import fault_card
from tests.faults.process import peak_mb, route_serve, served
from tests.faults.surfaces import request_body, send
from tests.faults.upstream import HUGE_BYTES, Upstream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
# Less than the memory that one copy of the response would take.
FLAT_MB = HUGE_BYTES / 2e6
REJECTED_MB = 1.25 * MAX_RESPONSE_BYTES / 1e6


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Server]]:
    cards = [fault_card(name, upstream.url, name) for name in ("ok", "huge-body", "long-stream")]
    folder: Path = tmp_path_factory.mktemp("memory")
    with (
        served(route_serve(folder, cards)) as (url, server),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        # The first requests allocate memory that later ones reuse.
        for stream in (False, True):
            for _ in range(20):
                assert send(client, "openai", "ok", stream).status == 200
        yield client, server


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_huge_response_is_rejected_without_being_buffered(gateway: tuple[httpx.Client, Server], stream: bool) -> None:
    client, server = gateway
    before = peak_mb(server.pid)
    assert send(client, "openai", "huge-body", stream).status == 502
    assert peak_mb(server.pid) - before < REJECTED_MB < HUGE_BYTES / 1e6


def test_a_long_stream_is_relayed_without_being_buffered(gateway: tuple[httpx.Client, Server]) -> None:
    client, server = gateway
    before, size, last = peak_mb(server.pid), 0, b""
    with client.stream("POST", "/v1/chat/completions", json=request_body("openai", "long-stream", True)) as response:
        for chunk in response.iter_raw():
            size += len(chunk)
            last = (last + chunk)[-40:]
    assert size > HUGE_BYTES
    assert last.endswith(b"data: [DONE]\n\n")
    assert peak_mb(server.pid) - before < FLAT_MB


def test_a_slow_client_slows_the_upstream_down(gateway: tuple[httpx.Client, Server]) -> None:
    client, server = gateway
    before = peak_mb(server.pid)
    with client.stream("POST", "/v1/chat/completions", json=request_body("openai", "long-stream", True)) as response:
        next(response.iter_raw())
        time.sleep(1)
        assert peak_mb(server.pid) - before < FLAT_MB
