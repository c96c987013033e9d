"""The goal `load` in a running gateway."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import httpx
import pytest

from router.cards.servers import RateLimits
from tests.gateway.servers import Upstream, gateway_server, make_card


def answered(url: str, headers: Mapping[str, str]) -> Counter[str]:
    """The cards that answer twelve requests at once, each of which takes a while."""

    async def one(client: httpx.AsyncClient, number: int) -> str:
        body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": f"question {number}"}]}
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            await response.aread()
            return response.headers["x-route-card"]

    async def main() -> list[str]:
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(12)))

    return Counter(asyncio.run(main()))


@pytest.mark.parametrize(("flags", "least"), [("", 0), ("load*0.3", 4)])
def test_requests_spread_over_two_equal_cards_where_load_is_weighed(upstream: Upstream, flags: str, least: int) -> None:
    cards = [
        make_card(name, upstream.url, "slow", rate_limits=RateLimits(concurrency=16), headers={"x-server": name})
        for name in ("one", "two")
    ]
    with gateway_server(*cards) as url:
        found = answered(url, {"x-route-flags": flags})
    assert found["two"] >= least
    assert bool(found["two"]) == bool(least)
