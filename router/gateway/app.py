"""The gateway as an ASGI application: one handler for every endpoint of the route table."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from router.errors import PulvinarError
from router.gateway.dashboard import catalogue, changes
from router.gateway.dashboard.api import Dashboard
from router.gateway.dashboard.assets import Pages
from router.gateway.endpoints.completion import CompletionHandler
from router.gateway.endpoints.dry_run import DryRun
from router.gateway.endpoints.feedback import FeedbackHandler
from router.gateway.endpoints.keyed import Answer, Keyed
from router.gateway.endpoints.ollama import Ollama
from router.gateway.endpoints.operator.adapters import Adapters
from router.gateway.endpoints.relayed import RelayedHandler
from router.gateway.endpoints.status import Status
from router.gateway.http.errors import ErrorResponse, error_response, http_error_response
from router.gateway.http.middleware import RequestMiddleware
from router.gateway.http.relayed import RELAYED, RelayedEndpoint
from router.gateway.http.routes import ENDPOINTS
from router.gateway.http.surfaces import CALLING, Surface, error_body, is_of_anthropic
from router.gateway.worker import Gateway

_JSON = "application/json"


class RelayedApp:
    """One endpoint that is relayed to a named card, as an ASGI application."""

    def __init__(self, gateway: Gateway, endpoint: RelayedEndpoint) -> None:
        self._services, self._endpoint = gateway.services, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        await RelayedHandler(self._services, self._endpoint, scope).run()


class SurfaceEndpoint:
    """One protocol's endpoint, as an ASGI application."""

    def __init__(self, gateway: Gateway, surface: Surface) -> None:
        self._services, self._surface = gateway.services, surface

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        del receive, send
        return CompletionHandler(self._services, self._surface, scope).run()


def make_app(gateway: Gateway) -> ASGIApp:
    """Build the ASGI application of `gateway`, which is closed when the application shuts down."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    handlers, pages = _handlers(gateway), Pages(lambda: gateway.config.dashboard)
    app = Starlette(
        routes=[
            # A model's name may contain slashes.
            Route(path.replace("{model}", "{model:path}"), handlers[operation], methods=[endpoint.method])
            for operation, endpoint in ENDPOINTS.items()
            for path in endpoint.paths
        ]
        + [
            Route("/dashboard", pages.page),
            Route("/dashboard/assets/{path:path}", pages.asset),
            *(
                Route(f"/dashboard/api/{path}", handler, methods=[method])
                for path, method, handler in _dashboard(gateway)
            ),
        ]
        + [
            Route(f"{prefix}/{endpoint.path}", RelayedApp(gateway, endpoint), methods=[endpoint.method])
            for endpoint in RELAYED
            for prefix in ("/v1", "")
        ],
        lifespan=lifespan,
    )
    # A redirect would be built from the Host header, which the client controls.
    app.router.redirect_slashes = False
    # Without Starlette's own outermost layer: the one here answers every exception.
    app.middleware_stack = ExceptionMiddleware(
        app.router, {PulvinarError: _on_pulvinar_error, HTTPException: _on_http_error}
    )
    return RequestMiddleware(
        app,
        visitors=lambda: gateway.visitors,
        base_path=lambda: gateway.config.base_path,
        timeouts=lambda: gateway.config.timeouts,
        proxies=lambda: gateway.proxies,
        posts={path: handlers[surface.name] for surface in CALLING for path in ENDPOINTS[surface.name].paths},
    )


def _dashboard(gateway: Gateway) -> Iterator[tuple[str, str, Keyed]]:
    """Path, method and handler of what the page of the dashboard reads."""
    reloader, availability, pool = gateway.reloader, gateway.availability, gateway.dispatcher.pool
    dashboard = Dashboard(
        None if gateway.backend is None else gateway.backend.read_records,
        setup=lambda: catalogue.setup(
            reloader, availability, gateway.experiments, has_records=gateway.backend is not None
        ),
        cards=lambda: catalogue.cards(reloader, availability, pool, gateway.adapter_servers),
        live=gateway.live_state,
        decide=DryRun(gateway.services).route,
        drift=lambda: changes.cards(gateway.drift),
        nightly_gaps=lambda: gateway.gaps.latest,
        state=gateway.state,
    )
    answers: dict[str, Answer] = {
        "setup": dashboard.setup,
        "cards": dashboard.cards,
        "traffic": dashboard.traffic,
        "budgets": dashboard.budgets,
        "savings": dashboard.savings,
        "routing": dashboard.routing,
        "values": dashboard.values,
        "drift": dashboard.drift,
        "days": dashboard.days,
        "gaps": dashboard.gaps,
        "what-if": dashboard.what_if,
        "requests": dashboard.requests,
        "requests/{id}": dashboard.request,
        "live": dashboard.live,
    }
    for path, answer in answers.items():
        yield path, "GET", Keyed(gateway.services, "dashboard", answer)
    yield "decide", "POST", Keyed(gateway.services, "dashboard", dashboard.decide)


def _handlers(gateway: Gateway) -> Mapping[str, Callable[..., Any]]:
    """The handler of every operation in the route table."""
    services, reloader = gateway.services, gateway.reloader
    dry_run = DryRun(services)
    status = Status(
        gateway.reloader,
        gateway.availability,
        gateway.metrics,
        models=lambda: gateway.models,
        is_draining=lambda: gateway.is_draining,
        limits_problem=lambda: gateway.limits_problem,
        remote=gateway.remote,
        records_problem=lambda: gateway.records_problem,
        artifact=lambda: gateway.promoted.status,
        flush=gateway.batch.flush,
    )
    adapters = Adapters(
        gateway.dispatcher.adapters, lambda: gateway.adapter_servers, is_alone=not gateway.has_other_workers
    )
    ollama = Ollama(models=lambda: gateway.models)
    keyed: dict[str, Answer] = {
        "count_tokens": dry_run.count_tokens,
        "route": dry_run.route,
        "feedback": FeedbackHandler(
            None if gateway.backend is None else gateway.backend.feedback, gateway.count_feedback
        ),
        "ollama_tags": ollama.tags,
        "ollama_show": ollama.show,
        "models": status.models,
        "model": status.model,
        "adapters": adapters.held,
        "adapters_load": adapters.load,
        "adapters_unload": adapters.unload,
        "adapters_pin": adapters.pin,
        "adapters_unpin": adapters.unpin,
    }
    metrics = Keyed(services, "metrics", status.metrics, lambda: not reloader.current.config.open_metrics)
    return {
        **{surface.name: SurfaceEndpoint(gateway, surface) for surface in CALLING},
        **{operation: Keyed(services, operation, answer) for operation, answer in keyed.items()},
        "metrics": metrics,
        "ollama_version": ollama.version,
        "healthz": status.health,
        "readyz": status.readiness,
        "openapi": status.openapi,
        "root": status.root,
    }


async def _on_pulvinar_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PulvinarError)
    return _error_reply(request, error_response(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error_reply(request, http_error_response(error, request.method, request.scope["path"]))


def _error_reply(request: Request, error: ErrorResponse) -> Response:
    body = error_body(request.scope["path"], error, of_anthropic=is_of_anthropic(request.headers))
    return Response(body, error.status, dict(error.headers), media_type=_JSON)
