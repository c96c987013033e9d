"""Four timeouts, each for itself: to connect, to the first content, between two pieces, for the whole answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.faults.faults import COMPLETE, CUT, TOO_LATE
from tests.faults.gateways import KEY, KEY_VARIABLE, fault_card, short_timeouts
from tests.faults.surfaces import Surface, ask, problems
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
    """A gateway whose timeouts are all long, except for those given."""
    settings = short_timeouts(
        **{"connect_s": LONG_S, "first_token_s": LONG_S, "idle_s": LONG_S, "total_s": LONG_S} | seconds
    )
    with (
        gateway_server(fault_card("card", url, fault), config=settings) as place,
        httpx.Client(base_url=place, trust_env=False, timeout=60) as client,
    ):
        yield client


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port on which connecting hangs: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as opened, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@whole_and_stream
def test_connecting_has_a_limit_of_its_own(stream: bool) -> None:
    with deaf_port() as port, gateway(f"http://127.0.0.1:{port}", "ok", connect_s=0.2) as client:
        assert problems(ask(client, "openai", "card", stream), TOO_LATE, "openai", stream) == []


@both_surfaces
@pytest.mark.parametrize("fault", ["hangs-before-headers", "hangs-before-content", "hangs-after-role"])
def test_the_first_content_of_a_stream_has_a_limit_of_its_own(upstream: Upstream, fault: str, surface: Surface) -> None:
    with gateway(upstream.url, fault, first_token_s=0.2) as client:
        assert problems(ask(client, surface, "card", True), TOO_LATE, surface, True) == []


@both_surfaces
def test_a_whole_answer_may_take_longer_than_a_first_content(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "slow-start", first_token_s=0.2, idle_s=0.2) as client:
        assert problems(ask(client, surface, "card", False), COMPLETE, surface, False) == []


@both_surfaces
def test_a_pause_has_a_limit_of_its_own(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "hangs-mid-stream", idle_s=0.2) as client:
        assert problems(ask(client, surface, "card", True), CUT, surface, True) == []


@both_surfaces
def test_a_slow_first_content_is_no_long_pause(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "slow-start", idle_s=0.2) as client:
        assert problems(ask(client, surface, "card", True), COMPLETE, surface, True) == []


@both_surfaces
def test_a_stream_longer_than_the_first_limit_is_not_cut(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "slow-drip", first_token_s=0.5, idle_s=0.5) as client:
        assert problems(ask(client, surface, "card", True), COMPLETE, surface, True) == []


@both_surfaces
def test_an_answer_has_a_limit_as_a_whole(upstream: Upstream, surface: Surface) -> None:
    with gateway(upstream.url, "endless", total_s=0.3) as client:
        assert problems(ask(client, surface, "card", False), TOO_LATE, surface, False) == []
        answer = ask(client, surface, "card", True)
        assert [each for each in problems(answer, CUT, surface, True) if "so far" not in each] == []
