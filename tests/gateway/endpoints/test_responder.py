"""Comments that keep the connection to a client open."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from router.gateway.endpoints import responder
from router.gateway.endpoints.responder import Responder
from tests.gateway.http.client.lines import Transport, exchange_on


@pytest.mark.parametrize("gets_events", [True, False])
def test_a_client_that_gets_events_gets_no_comment(gets_events: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = Transport()

    async def main() -> str:
        async def work() -> str:
            if gets_events:
                sending.has_passed()
            await asyncio.sleep(0.05)
            return "done"

        sending = Responder(exchange_on(transport), dict, "text/event-stream")
        # No time passes for the responder, so that what it gets is always new.
        now_s = 0.0 if gets_events else 1.0
        monkeypatch.setattr(responder, "time", SimpleNamespace(monotonic=lambda: now_s))
        return await sending.keeping_alive(work(), 0.01)

    assert asyncio.run(main()) == "done"
    assert (b": keep-alive\n\n" in b"".join(transport.written)) is not gets_events
