"""The four timeouts: connect, first content, pause between two chunks, whole response."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.faults import COMPLETE, CUT, GATEWAY_TIMEOUT
from tests.faults.gateways import KEY, KEY_VARIABLE, fault_card, short_timeouts
from tests.faults.surfaces import Surface, problems, send
from tests.faults.upstream import Upstream
from tests.gateway.servers import gateway_server

LONG_S = 20.0
both_surfaces = pytest.mark.parametrize("surface", ["openai", "anthropic"])
whole_and_stream = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@contextlib.contextmanager
def gateway(url: str, fault: str, **seconds: float) -> Iterator[httpx.Client]:
    """A gateway with long timeouts, except for those given."""
    settings = short_timeouts(
        **{"connect_s": LONG_S, "first_token_s": LONG_S, "idle_s": LONG_S, "total_s": LONG_S} | seconds
    )
    with (
        gateway_server(fault_card("card", url, fault), config=settings) as gateway_url,
        httpx.Client(base_url=gateway_url, trust_env=False, timeout=60) as client,
    ):
        yield client


@contextlib.contextmanager
def hanging_port() -> Iterator[int]:
    """A port on which connecting hangs: its backlog is full, and no connection is accepted."""
    with contextlib.ExitStack() as opened, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@whole_and_stream
def test_connecting_has_a_timeout(stream: bool) -> None:
    with hanging_port() as port, gateway(f"http://127.0.0.1:{port}", "ok", connect_s=0.2) as client:
        assert problems(send(client, "openai", "card", stream), GATEWAY_TIMEOUT, "openai", stream) == []


@both_surfaces
@pytest.mark.parametrize("fault", ["hangs-before-headers", "hangs-before-content", "hangs-after-role"])
def test_the_first_content_of_a_stream_has_a_timeout(upstream: Upstream, fault: str, surface: Surface) -> None:
    with gateway(upstream.url, fault, first_token_s=0.2) as client:
        assert problems(send(client, surface, "card", True), GATEWAY_TIMEOUT, surface, True) == []


@both_surfaces
def test_a_response_without_streaming_may_take_longer_than_the_first_content_timeout(
    upstream: Upstream, surface: Surface
) -> None:
    with gateway(upstream.url, "slow-start", first_token_s=0.2, idle_s=0.2) as client:
        assert problems(send(client, surface, "card", False), COMPLETE, surface, False) == []


@both_surfaces
def test_a_pause_in_a_stream_has_a_timeout(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "hangs-mid-stream", idle_s=0.2) as client:
        assert problems(send(client, surface, "card", True), CUT, surface, True) == []


@both_surfaces
def test_the_pause_timeout_does_not_apply_before_the_first_content(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "slow-start", idle_s=0.2) as client:
        assert problems(send(client, surface, "card", True), COMPLETE, surface, True) == []


@both_surfaces
def test_a_stream_may_take_longer_than_the_first_content_timeout(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "slow-drip", first_token_s=0.5, idle_s=0.5) as client:
        assert problems(send(client, surface, "card", True), COMPLETE, surface, True) == []


@both_surfaces
def test_a_whole_response_has_a_timeout(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "endless", total_s=0.3) as client:
        assert problems(send(client, surface, "card", False), GATEWAY_TIMEOUT, surface, False) == []
        response = send(client, surface, "card", True)
        assert [problem for problem in problems(response, CUT, surface, True) if "so far" not in problem] == []
