"""Real servers on loopback ports: a scripted upstream, and the gateway in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn.server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from router.cards import Card, Catalog
from router.cards.price import Price
from router.decide.policy import Policies, Policy
from router.dispatch import Timeouts
from router.formats.quantities import Dollars
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Keys
from router.gateway.config.reload import ActiveConfig, ConfigReloader
from router.gateway.config.sources import Sources
from router.gateway.server.connections import Connections
from router.gateway.server.listener import listen
from router.gateway.server.server import Hooks, Server
from router.gateway.worker import Gateway
from router.perceive.ability.evidence import ProbeOutcome
from router.perceive.predictor import Evidence
from router.pipeline import Router
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import catalogue_snapshot
from router.types import Features, Forecast

CHUNKS = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"served","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}\n\n',
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"served","choices":'
    b'[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}],"odd":[1.0,null]}\n\n',
    b"data: [DONE]\n\n",
)
COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "served",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@dataclass
class ReceivedRequest:
    """A request as it reached the upstream."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Upstream:
    """A model server whose response depends on the model's name: `ok`, `status-429`, `cut`, `hang` and so on."""

    url: str = ""
    seen: list[ReceivedRequest] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    error: Any = None
    error_headers: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> list[str]:
        """The requested models, in order."""
        return [request.body["model"] for request in self.seen]

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.seen.append(ReceivedRequest(request.url.path, dict(request.headers), body))
        model = body["model"]
        if model == "hang":
            await self._until_left(request)
        if model.startswith("status-"):
            status = int(model.removeprefix("status-"))
            error = self.error if self.error is not None else {"error": {"message": "upstream says no"}}
            content = error if isinstance(error, bytes) else json.dumps(error).encode()
            return Response(content, status, {"content-type": "application/json", **self.error_headers})
        if body.get("stream"):
            return StreamingResponse(self._stream(model), media_type="text/event-stream")
        return Response(json.dumps(COMPLETION), headers={"content-type": "application/json", "set-cookie": "a=b"})

    async def models_listed(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": model} for model in ("ok", "slow", "quiet", "hang")]})

    async def _stream(self, model: str) -> AsyncIterator[bytes]:
        if model == "empty":
            return
        if model == "breaks-at-once":
            raise ConnectionAbortedError
        yield CHUNKS[0]
        if model == "mid-event":
            yield CHUNKS[1][:40]
        if model in ("cut", "mid-event"):
            await asyncio.sleep(0.05)
            raise ConnectionAbortedError
        if model == "no-done":
            return
        if model == "quiet":
            try:
                await asyncio.sleep(30)
            finally:
                self.left.set()
        if model == "slow":
            await asyncio.sleep(0.5)
        yield CHUNKS[1]
        yield CHUNKS[2]

    async def _until_left(self, request: Request) -> None:
        for _ in range(600):
            if await request.is_disconnected():
                self.left.set()
                return
            await asyncio.sleep(0.05)


class _PromptServer(Server):
    """A server that stops at once, not up to 0.2 s later. A thousand tests have servers of their own."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopped = asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        # What uvicorn does ten times a second it needs once a second, for the header `date`.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1)

    def stop(self) -> None:
        """Stop it, from another thread."""
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._stopped.set)


class _ShortSleeps:
    """`asyncio` as uvicorn's server knows it, whose sleeps are polls of 0.1 s."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


uvicorn.server.asyncio = _ShortSleeps()  # type: ignore[attr-defined,assignment]
# A test is over when it stops its server; requests that it left in progress are aborted after so long.
_GRACE_S = 0.2


@contextlib.contextmanager
def served(app: ASGIApp, connections: Connections | None = None) -> Iterator[str]:
    """Serve `app` on a loopback port with the gateway's server settings; the value is its URL."""
    listener = listen("127.0.0.1", 0)
    ready = threading.Event()
    hooks = Hooks(on_ready=ready.set, grace_s=lambda: _GRACE_S)
    server = _PromptServer(app, listener, hooks, connections)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        # uvicorn's `started` comes before connections are accepted.
        assert ready.wait(10)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        thread.join(10)
        listener.close()


class MemoryJournal:
    """A journal in memory."""

    keep_days: float | None = None
    dropped = waiting_bytes = 0
    problem = None

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> Awaitable[None] | None:
        self.records.append(record)
        return None

    def keep(self, _: Snapshot) -> bool:
        return True

    def close(self) -> None:
        pass


@contextlib.contextmanager
def upstream_server() -> Iterator[Upstream]:
    upstream = Upstream()
    routes = [
        Route("/v1/chat/completions", upstream.answer, methods=["POST"]),
        Route("/v1/messages/count_tokens", upstream.answer, methods=["POST"]),
        Route("/v1/models", upstream.models_listed),
    ]
    with served(Starlette(routes=routes)) as url:
        upstream.url = url
        yield upstream


class LetterEncoder:
    """Letter counts in place of an embedding."""

    name, fingerprint, dimensions = "letters", "letters-1", 26

    def encode(self, texts: Any) -> Any:
        rows = [[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), 26)

    def count_tokens(self, text: str) -> int:
        return max(len(text) // 4, 1)


class IndifferentPredictor:
    """Forecasts the same quality for every card, so that only the policy decides."""

    id, width = "indifferent-1", 0
    acceptance = None

    def __init__(self) -> None:
        self.encoder, self.reader = LetterEncoder(), None

    def column(self, catalog: Catalog, position: int) -> None:
        return None

    def evidence_of(self, outcomes: Mapping[str, Sequence[ProbeOutcome]], _: object = None) -> dict[str, Evidence]:
        return {
            card: Evidence(self.encoder.encode([outcome.prompt for outcome in of_card]), np.zeros(len(of_card)))
            for card, of_card in outcomes.items()
        }

    def bind(self, catalog: Catalog, _: object = None) -> Callable[[Features], Forecast]:
        half, none = np.full(len(catalog), 0.5), np.full(len(catalog), np.nan)
        prices = np.array([card.price.output_usd for card in catalog]) / 1e6
        forecast = Forecast(
            quality=half,
            quality_std=half / 5,
            independent_std=half / 5,
            mean_quality=half,
            output_tokens=half * 200,
            written_tokens=half * 200,
            cost_usd=prices * 100,
            ttft_ms=none,
            latency_ms=none,
        )
        return lambda _: forecast


def make_card(id_: str, url: str, model: str = "ok", price: float = 1.0, **facts: Any) -> Card:
    """A card of a model on the scripted upstream at `url`."""
    facts = {"provider": "openai", "base_url": f"{url}/v1", **facts}
    return Card(id=id_, model=model, price=Price(Dollars(price), Dollars(price)), **facts)


def make_router(*cards: Card) -> Router:
    """A router over `cards` whose policies all prefer low prices."""
    policies = [
        Policy(id="default", description="Cheap first.", goals={"cheapest": 1.0}, fallbacks=3, headers="on"),
        Policy(id="alone", description="Cheap, nothing else.", goals={"cheapest": 1.0}, fallbacks=0, headers="on"),
    ]
    return Router(Catalog(cards), Policies(policies), IndifferentPredictor())


_CONFIG, _NO_KEYS = GatewayConfig(), Keys()


def make_gateway(router: Router, config: GatewayConfig = _CONFIG, keys: Keys = _NO_KEYS, **parts: Any) -> Gateway:
    """A gateway with a fixed configuration."""
    nowhere = Path(os.devnull)
    loaded = ActiveConfig(router, catalogue_snapshot(router.catalog, {}), config, keys, 1, "fixed", 0.0)
    return Gateway(ConfigReloader(lambda _: loaded, Sources(nowhere, nowhere, nowhere, nowhere, nowhere)), **parts)


def with_timeouts(timeouts: Timeouts) -> GatewayConfig:
    """The default settings with other timeouts."""
    return GatewayConfig(timeouts=timeouts)


@contextlib.contextmanager
def gateway_server(*cards: Card, config: GatewayConfig = _CONFIG, **parts: Any) -> Iterator[str]:
    """A gateway over `cards`; the value is its URL."""
    with served(make_app(make_gateway(make_router(*cards), config, **parts))) as url:
        yield url


def wait_for(condition: Callable[[], bool], seconds: float = 2.0) -> bool:
    """Whether `condition` becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()
