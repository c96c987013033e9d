"""The same trace through the gateway's own dispatcher, at scripted servers that follow vLLM's source.

Requests arrive at the times of the trace, and find their deployments, wait, load and are sent over HTTP as in a running
gateway; the servers take the time of `Speeds` for loads and answers. What they saw is compared with the simulation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from bench.residency.caches import belady_hits
from bench.residency.simulator import Options, Simulation, Speeds
from bench.residency.trace import Request, trace
from router.cards import Card
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.pool.queue import QueueLimits
from router.formats.quantities import Seconds
from tests.dispatch.lora.cards import make_cards
from tests.dispatch.lora.scripted import ScriptedVllm, running

SPEEDS = Speeds(load_s=0.15, input_s=0.0, output_s=1 / 800)
"""So fast that the bench is short, and so slow that the time of a request over HTTP matters little."""

# Each server runs as many calls at once as come, as vLLM does: only slots are short.
_PLACES = 10_000


class Served(Struct, frozen=True):
    """Hit ratios: those that the servers saw, of the simulation, of one that serves first come, first served and evicts
    the least recently used adapter that no call uses (`lru`), and of Belady's rule for the calls as they were served.
    `loads`: of the servers and of the simulation. `held`: the most adapters at one server. `right`: the share of
    requests that their adapter answered.
    """

    alpha: float
    slots: int
    requests: int
    right: float
    loads: int
    simulated_loads: int
    hits: float
    simulated_hits: float
    lru: float
    belady: float
    held: int


class TimedVllm(ScriptedVllm):
    """A server that takes as long for an answer as its tokens need. `used_adapters` has those of its calls in order."""

    def __init__(self, slots: int, speeds: Speeds) -> None:
        super().__init__(cpu_slots=slots)
        self.load_s, self._speeds = speeds.load_s, speeds
        self.used_adapters: list[str] = []
        self.most_held = 0

    @contextlib.asynccontextmanager
    async def used(self, name: str) -> AsyncIterator[None]:
        """The call whose body came last uses an adapter."""
        self.used_adapters.append(name)
        self.most_held = max(self.most_held, len(self.adapters))
        await asyncio.sleep(self.chats[-1]["max_tokens"] * self._speeds.output_s)
        yield


def served(
    alpha: float, slots: int, requests: int, *, servers: int = 2, adapters: int = 40, rate: float = 12.0
) -> Served:
    """A trace through the dispatcher, and through the simulation. `rate`: requests a second."""
    asked = trace(requests, rate, alpha=alpha, adapters=adapters)
    at = [TimedVllm(slots, SPEEDS) for _ in range(servers)]
    names = sorted({each.adapter for each in asked})
    with running(*at):
        cards = make_cards([each.url for each in at], adapters=names, slots=slots)
        right = asyncio.run(_send(asked, cards))
        urls = [f"{each.url}/v1" for each in at]
    options = Options(servers=servers, slots=slots, places=_PLACES)
    simulated = Simulation(asked, options, SPEEDS, urls).run()
    plain = msgspec.structs.replace(options, looks=False, warm_first=False, fair=False)
    loads = sum(each.loads() for each in at)
    of_each = [each.used_adapters for each in at]
    return Served(
        alpha=alpha,
        slots=slots,
        requests=requests,
        right=right / requests,
        loads=loads,
        simulated_loads=simulated.loads,
        hits=1 - loads / requests,
        simulated_hits=simulated.hit_ratio(),
        lru=Simulation(asked, plain, SPEEDS, urls).run().hit_ratio(),
        belady=sum(belady_hits(uses, slots) for uses in of_each) / requests,
        held=max(each.most_held for each in at),
    )


async def _send(asked: Sequence[Request], cards: Mapping[str, Card]) -> int:
    """How many requests were answered by their adapters."""
    # Nobody gives up, however busy the machine is.
    dispatcher = Dispatcher(DispatchSettings(queue=QueueLimits(wait_s=Seconds(600))))
    dispatcher.adapters.configure(cards.values())
    loop = asyncio.get_running_loop()

    async def one(request: Request, begun_s: float) -> bool:
        await asyncio.sleep(max(begun_s + request.arrives_s - loop.time(), 0))
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": request.output_tokens}
        response = await dispatcher.send_first_healthy([cards[request.adapter]], Call("chat", body, decode=True))
        return response.status == 200 and isinstance(response.body, bytes) and request.adapter.encode() in response.body

    try:
        await dispatcher.adapters.sweep()
        return sum(await asyncio.gather(*(one(request, loop.time()) for request in asked)))
    finally:
        await dispatcher.aclose()
