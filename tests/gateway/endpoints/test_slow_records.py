"""Requests whose deadline comes while their record is written to a slow disk."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable

import httpx
import pytest

from router.dispatch import Timeouts
from router.formats.quantities import Dollars, Seconds
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.telemetry.access_log import AccessLog
from router.gateway.telemetry.line_writer import LineWriter
from router.store.records.record import Record
from router.store.state.protocol import Claim
from router.store.state.sqlite import SqliteState
from tests.gateway.servers import MemoryJournal, Upstream, gateway_server, make_card, with_timeouts
from tests.gateway.telemetry.pipes import text_in

KEYS = Keys((Key(id="team", hash=hash_of("pv-team"), budget_usd_per_day=Dollars(1)),))


class SlowJournal(MemoryJournal):
    """A journal whose records are not on the disk for a while."""

    def append(self, record: Record) -> Awaitable[None]:
        super().append(record)
        return asyncio.sleep(5)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_ends_while_it_is_recorded_is_charged_and_logged_all_the_same(
    upstream: Upstream, stream: bool
) -> None:
    state, (reader, writer) = SqliteState(), os.pipe()
    log = AccessLog(LineWriter(writer))
    config = with_timeouts(Timeouts(total_s=Seconds(0.5)))
    parts = {"keys": KEYS, "state": state, "journal": SlowJournal(), "access_log": log}
    with gateway_server(make_card("ok", upstream.url, price=100_000.0), config=config, **parts) as url:
        body = {"model": "ok", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "stream": stream}
        httpx.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": "Bearer pv-team"}, timeout=30)
        spent_usd, now_s = asyncio.run(state.spent_usd("team", time.time())), time.time()
        assert spent_usd > 0
        # Nothing stays reserved.
        asyncio.run(state.reserve(Claim("team", 1.0, 0.99 - spent_usd), now_s))
    # The gateway has stopped.
    assert json.loads(text_in(reader))["cost_usd"] == pytest.approx(spent_usd)
    for fd in (reader, writer):
        os.close(fd)
