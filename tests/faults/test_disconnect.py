"""A client disconnect cancels the upstream call in any state, and no fallback is called."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.faults.gateways import KEY, KEY_VARIABLE, fault_card, short_timeouts
from tests.faults.surfaces import PATHS, Surface, request_body
from tests.faults.upstream import Upstream
from tests.gateway.servers import gateway_server, wait_for

HANGING = ("hangs-before-headers", "hangs-before-content", "hangs-after-role", "hangs-mid-stream", "endless")


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        cards = [
            card
            for fault in HANGING
            for card in (
                fault_card(fault, upstream.url, fault, tags=(f"with-{fault}",), price=1.0),
                fault_card(f"after-{fault}", upstream.url, "ok", tags=(f"with-{fault}",), price=2.0),
            )
        ]
        long_timeouts = short_timeouts(first_token_s=30.0, idle_s=30.0, total_s=60.0)
        with gateway_server(*cards, config=long_timeouts) as url:
            yield url


@pytest.mark.parametrize("surface", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", HANGING)
def test_a_client_disconnect_cancels_the_upstream_call(
    gateway: str, upstream: Upstream, fault: str, stream: bool, surface: Surface
) -> None:
    before = len(upstream.seen_at(fault))
    with socket.create_connection((urlsplit(gateway).hostname, urlsplit(gateway).port or 0)) as connection:
        connection.sendall(_request(surface, f"auto[tag=with-{fault}]", stream))
        assert wait_for(lambda: len(upstream.seen_at(fault)) > before)
        if fault in ("hangs-mid-stream", "endless") and stream:
            # Disconnect during the stream, not before it.
            while b"Hello" not in connection.recv(65536):
                pass
        assert upstream.open_calls == 1
    assert wait_for(lambda: not upstream.open_calls, 1.0)
    assert upstream.seen_at(f"after-{fault}") == []


def _request(surface: Surface, model: str, stream: bool) -> bytes:
    body = json.dumps(request_body(surface, model, stream)).encode()
    head = f"POST {PATHS[surface]} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
