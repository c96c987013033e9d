"""What a request holds is freed when it ends, without Python's garbage collector."""

from __future__ import annotations

import gc

import httpx
import pytest

from router.gateway.routing.selection import GatewayRequest
from tests.gateway.servers import wait_for


def requests_alive() -> int:
    return sum(isinstance(each, GatewayRequest) for each in gc.get_objects())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("card", ["dear", "cut", "empty", "breaks-at-once", "status-400", "no-such-card"])
def test_the_body_of_a_request_that_has_ended_is_freed(gateway: httpx.Client, card: str, stream: bool) -> None:
    body = {"model": card, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    gc.collect()
    gc.disable()
    try:
        before = requests_alive()
        gateway.post("/v1/chat/completions", json=body)
        assert wait_for(lambda: requests_alive() <= before)
    finally:
        gc.enable()
