"""Durations that the documentation states: `timeouts.total` with fallbacks, and the time until a stopped process ends.

These are limits of the product, not measures of speed: each has a wide margin.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bench.gateway.processes import Start
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.upstream import Upstream, fault_upstream
from tests.gateway.servers import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session"),
    pytest.mark.xdist_group("hostile"),
]
_TOTAL_S, _MARGIN_S = 2.0, 2.0
_SETTINGS = {"timeouts": {"connect": "1s", "first_token": "2s", "idle": "2s", "total": f"{_TOTAL_S}s"}}
_CARDS = 4


_BODY = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with fault_upstream() as server:
        yield server


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_total_timeout_counts_for_all_cards_together(
    upstream: Upstream, warm: Callable[[Start], Start], tmp_path: Path, stream: bool
) -> None:
    cards = [
        fault_card(f"hung-{number}", upstream.url, "hangs-before-headers", tags=("hung",), price=number)
        for number in range(1, _CARDS + 1)
    ]
    with (
        served(warm(route_serve(tmp_path, cards, _SETTINGS))) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        # The first request imports what it needs.
        client.post("/route", json=_BODY)
        started = time.monotonic()
        response = client.post("/v1/chat/completions", json={"model": "auto[tag=hung]", "stream": stream, **_BODY})
        assert response.status_code == 504
        assert time.monotonic() - started < _TOTAL_S + _MARGIN_S


def test_a_process_ends_after_the_total_timeout_even_if_a_client_does_not_read(
    upstream: Upstream, tmp_path: Path
) -> None:
    card = fault_card("endless", upstream.url, "endless")
    with (
        served(route_serve(tmp_path, [card], _SETTINGS)) as (url, server),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        client.stream("POST", "/v1/chat/completions", json={"model": "endless", "stream": True, **_BODY}) as response,
    ):
        assert response.status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        assert wait_for(lambda: not Path(f"/proc/{server.pid}/cmdline").read_bytes(), _TOTAL_S + 2 * _MARGIN_S)
