"""The endpoints, and what stands behind them in one worker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from router import __version__
from router.dispatch import Dispatcher, DispatchSettings
from router.dispatch.queue import Admission
from router.errors import PulvinarError
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import presented_key
from router.gateway.config.reload import ActiveConfig, ConfigReloader
from router.gateway.endpoints.completion import CompletionHandler, Services, Sink
from router.gateway.endpoints.dry_run import DryRun
from router.gateway.endpoints.models import ModelList
from router.gateway.endpoints.openapi import openapi_document
from router.gateway.http.errors import error_response, http_error_response
from router.gateway.http.middleware import RequestMiddleware
from router.gateway.http.surfaces import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    Surface,
    error_body,
)
from router.gateway.routing.availability import AvailabilityMonitor, Probe
from router.gateway.routing.recorder import Recorder
from router.gateway.routing.selection import Selector
from router.gateway.telemetry.access_log import AccessLog
from router.gateway.telemetry.metrics import Metrics
from router.store.records.journal import Journal
from router.store.records.record import Record, Snapshot
from router.store.state.sqlite import State

if TYPE_CHECKING:
    from router.gateway.telemetry.spans import Traces

_JSON = "application/json"
_GREETING = b'{"name":"pulvinar","version":"%s"}' % __version__.encode()
_SHARE_EVERY_S = 1.0
_SURFACES = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/embeddings": EMBEDDINGS,
    "/responses": RESPONSES,
    "/messages": MESSAGES,
}


class Gateway:
    """Everything that one worker answers requests with. Made before its event loop runs, used on it alone.

    `state` counts what keys use, `conversations` remembers which card answers which; by default it is the same.
    `probe` tells which of the cards cannot be called; it is asked at the start and then again and again. Without a
    `journal` nothing is recorded. `metrics_folder` is shared by the workers of one gateway.
    """

    def __init__(
        self,
        live: ConfigReloader,
        *,
        probe: Probe = lambda _: {},
        state: State | None = None,
        conversations: State | None = None,
        journal: Journal | None = None,
        access_log: AccessLog | None = None,
        traces: Traces | None = None,
        metrics_folder: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.live, self.state, self.journal = live, state or State(), journal
        self.conversations = conversations or self.state
        self.access_log, self.traces = access_log, traces
        self.is_draining = False
        config = live.current.config
        self.dispatcher = Dispatcher(_dispatching(config))
        self.admission = Admission(config.max_concurrency, config.queue)
        self.watch = AvailabilityMonitor(live.current.router.catalog, probe, tell)
        self.metrics = Metrics(self._readings(), metrics_folder)
        self.models = _models(live.current)
        chooser = Selector(self.watch, self.dispatcher.fleet, self._card_of)
        self.parts = Services(
            live=live,
            chooser=chooser,
            dispatcher=self.dispatcher,
            admission=self.admission,
            state=self.state,
            conversations=self.conversations,
            recorder=Recorder(self._keep_snapshot),
            sinks=tuple(self._sinks()),
            traces=traces,
        )
        live.on_change = self._take_over

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look after everything that goes on beside requests; close it all at the end."""
        await self.watch.look()
        beside = [
            asyncio.create_task(self.watch.keep_looking()),
            asyncio.create_task(self.live.watch()),
            *(asyncio.create_task(each.tend()) for each in {self.state, self.conversations}),
            asyncio.create_task(self._share()),
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self.dispatcher.aclose()
            await asyncio.to_thread(self._close)

    @property
    def needs_no_key(self) -> bool:
        """Whether anybody who reaches the gateway may use it."""
        return not self.live.current.keys

    def _close(self) -> None:
        if self.journal is not None:
            self.journal.close()
        if self.access_log is not None:
            self.access_log.close()
        if self.traces is not None:
            self.traces.close()
        for each in {self.state, self.conversations}:
            each.close()

    def _take_over(self, loaded: ActiveConfig) -> None:
        self.models = _models(loaded)
        self.dispatcher.configure(_dispatching(loaded.config))
        self.admission.most, self.admission.queue = loaded.config.max_concurrency, loaded.config.queue
        self.watch.set_catalog(loaded.router.catalog)
        if self.journal is not None:
            self.journal.keep_days = loaded.config.records.keep_days

    def _card_of(self, session: str, key: str) -> str | None:
        return self.conversations.card_of(session, time.time(), key)

    def _sinks(self) -> Iterable[Sink]:
        # First: what is acknowledged must be safe, whatever becomes of the rest.
        if self.journal is not None:
            yield self._keep
        if self.access_log is not None:
            yield self.access_log.sink
        yield self.metrics.sink

    def _keep(self, record: Record) -> None:
        # Whoever has no key could fill the disk.
        if self.journal is not None and self.live.current.config.records.enabled and record.outcome.status != 401:
            self.journal.append(record)

    def _keep_snapshot(self, snapshot: Snapshot) -> bool:
        if self.journal is None or not self.live.current.config.records.enabled:
            return True
        return self.journal.keep(snapshot)

    def _readings(self) -> Mapping[str, Callable[[], float]]:
        readings: dict[str, Callable[[], float]] = {
            "in_flight": lambda: self.admission.running,
            "queued": lambda: self.admission.waiting + self.dispatcher.fleet.waiting,
            "cooling": lambda: len(self.dispatcher.fleet.resting()),
            "callable": lambda: self.watch.callable_cards,
            "config_version": lambda: self.live.current.number,
            "config_ok": lambda: self.live.problem is None,
        }
        if self.journal is not None:
            journal = self.journal
            readings["records_dropped"] = lambda: journal.dropped
        if self.access_log is not None:
            log = self.access_log
            readings["log_dropped"] = lambda: log.dropped
        return readings

    async def _share(self) -> None:
        while True:
            await asyncio.sleep(_SHARE_EVERY_S)
            self.metrics.share()


class SurfaceEndpoint:
    """One protocol's endpoint, as an ASGI application."""

    def __init__(self, gateway: Gateway, surface: Surface) -> None:
        self._parts, self._surface = gateway.parts, surface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await CompletionHandler(self._parts, self._surface, scope, receive, send).run()


class Status:
    """What operators and clients ask beside requests."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def greet(self, _: Request) -> Response:
        """`GET /`."""
        return Response(_GREETING, media_type=_JSON)

    async def healthy(self, _: Request) -> Response:
        """`GET /healthz`: the process runs."""
        return Response(b'{"status":"ok"}', media_type=_JSON)

    async def ready(self, _: Request) -> Response:
        """`GET /readyz`: whether requests should come here, and what is wrong with the configuration on disk."""
        gateway = self._gateway
        current = gateway.live.current
        said = {
            "status": "draining" if gateway.is_draining else "ready",
            "cards": {"callable": gateway.watch.callable_cards, "all": len(current.router.catalog)},
            "configuration": {"number": current.number, "fingerprint": current.fingerprint},
            "refused_edit": gateway.live.problem,
        }
        return Response(msgspec.json.encode(said), 503 if gateway.is_draining else 200, media_type=_JSON)

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`, for Prometheus."""
        current = self._gateway.live.current
        if not current.config.open_metrics:
            current.keys.authenticate(presented_key(request.headers))
        accept = request.headers.get("accept", "")
        kind, body = await asyncio.to_thread(self._gateway.metrics.exposition, accept)
        return Response(body, headers={"content-type": kind})

    async def openapi(self, _: Request) -> Response:
        """`GET /openapi.json`."""
        current = self._gateway.live.current
        document = openapi_document(keyed=bool(current.keys), open_metrics=current.config.open_metrics)
        return Response(msgspec.json.encode(document), media_type=_JSON)

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`."""
        key = self._gateway.live.current.keys.authenticate(presented_key(request.headers))
        return Response(self._gateway.models.listed(key), media_type=_JSON)

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{name}`."""
        key = self._gateway.live.current.keys.authenticate(presented_key(request.headers))
        return Response(self._gateway.models.one(request.path_params["name"], key), media_type=_JSON)


def make_app(gateway: Gateway) -> Starlette:
    """The gateway as an ASGI application, which closes it when it shuts down."""
    status, inquiries = Status(gateway), DryRun(gateway.parts)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    routes: list[Route] = []
    for prefix in ("/v1", ""):
        routes += [
            Route(prefix + path, SurfaceEndpoint(gateway, surface), methods=["POST"])
            for path, surface in _SURFACES.items()
        ]
        routes += [
            Route(f"{prefix}/messages/count_tokens", inquiries.count_tokens, methods=["POST"]),
            Route(f"{prefix}/route", inquiries.route, methods=["POST"]),
            Route(f"{prefix}/models", status.models),
            Route(f"{prefix}/models/{{name:path}}", status.model),
        ]
    routes += [
        Route("/", status.greet),
        Route("/healthz", status.healthy),
        Route("/readyz", status.ready),
        Route("/metrics", status.metrics),
        Route("/openapi.json", status.openapi),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(RequestMiddleware, needs_no_key=lambda: gateway.needs_no_key)],
        exception_handlers={PulvinarError: _on_our_fault, HTTPException: _on_http_fault},
        lifespan=lifespan,
    )
    # A redirect would be built from the Host header, which anyone may choose.
    app.router.redirect_slashes = False
    return app


async def _on_our_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, PulvinarError)
    fault = error_response(error)
    return Response(error_body(request.scope["path"], fault), fault.status, dict(fault.headers), media_type=_JSON)


async def _on_http_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    fault = http_error_response(error, request.method, request.scope["path"])
    return Response(error_body(request.scope["path"], fault), fault.status, dict(fault.headers), media_type=_JSON)


def _models(loaded: ActiveConfig) -> ModelList:
    return ModelList(loaded.router.catalog, loaded.router.policies, loaded.config.aliases)


def _dispatching(config: GatewayConfig) -> DispatchSettings:
    return DispatchSettings(config.timeouts, config.cooldown, config.queue, config.retries)
