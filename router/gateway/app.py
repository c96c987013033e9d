"""The endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router import __version__
from router.dispatch import Answer, Dispatcher, Stream
from router.dispatch.dispatcher import why_uncallable
from router.errors import ConfigurationError, NoCandidateError, PulvinarError
from router.gateway.edge import Edge
from router.gateway.faults import on_http_fault, on_our_fault
from router.gateway.openai import (
    DEFAULT_POLICY,
    ModelList,
    Target,
    flags_in,
    joined_flags,
    read_body,
    read_target,
    refusal_body,
    wants_stream,
)
from router.gateway.streaming import UpstreamResponse, unless_client_leaves
from router.pipeline import Routed, Router
from router.types import ChatRequest

MAX_BODY_BYTES = 16 * 1024 * 1024
PROBE_INTERVAL_S = 10.0
_JSON = "application/json"
_GREETING = b'{"name":"pulvinar","version":"%s"}' % __version__.encode()


Probe = Callable[[], Mapping[str, str]]
"""Asks which cards cannot be called now: their ids, and why. May block."""


def make_app(router: Router, dispatcher: Dispatcher, probe: Probe = dict) -> Starlette:
    """The gateway as an ASGI application. It closes `dispatcher` when it shuts down.

    `probe` is asked at the start and then every PROBE_INTERVAL_S; the cards it names are not chosen, but a client
    may still name them. Cards without credentials need not be in it. Raises ConfigurationError where there is no
    policy for the model name `auto`.
    """
    if DEFAULT_POLICY not in router.policies.ids:
        raise ConfigurationError(f'there is no policy "{DEFAULT_POLICY}", which the model name "auto" stands for')
    gateway = Gateway(router, dispatcher)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.look_around(probe)
        watch = asyncio.create_task(_keep_looking(gateway, probe))
        yield
        watch.cancel()
        await dispatcher.aclose()

    routes = [Route("/", _greet), Route("/healthz", _healthy)]
    for prefix in ("/v1", ""):
        routes += [
            Route(f"{prefix}/chat/completions", gateway.chat, methods=["POST"]),
            Route(f"{prefix}/models", gateway.models),
            Route(f"{prefix}/models/{{name:path}}", gateway.model),
        ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Edge)],
        exception_handlers={PulvinarError: on_our_fault, HTTPException: on_http_fault},
        lifespan=lifespan,
    )
    # A redirect would be built from the Host header, which anyone may choose.
    app.router.redirect_slashes = False
    return app


class Gateway:
    """Answers chat requests with the router's choice, or with the card that the client names."""

    def __init__(self, router: Router, dispatcher: Dispatcher) -> None:
        self._router, self._dispatcher = router, dispatcher
        self._models = ModelList(router.catalog, router.policies)
        reasons = {card.id: why_uncallable(card) for card in router.catalog}
        self._uncallable = {card: reason for card, reason in reasons.items() if reason}
        self._unavailable: Mapping[str, str] = self._uncallable

    async def look_around(self, probe: Probe) -> None:
        """Ask `probe`, off the event loop, and keep to what it says from now on."""
        self._unavailable = {**await asyncio.to_thread(probe), **self._uncallable}

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        body = read_body(await _read(request))
        stream, target = wants_stream(body), read_target(body)
        headers = dict(request.headers)
        shown: dict[str, str] = {}
        if target.card is None:
            routed = self._route(target, headers.get("x-route-flags", ""), body)
            shown["x-route-policy"] = routed.decision.policy
            plan, body = routed.decision.plan, dict(routed.request.body)
            cards = [self._router.catalog.named(card) for card in (plan.card, *plan.fallbacks)]
        else:
            cards = [self._router.catalog.named(target.card)]
            _check_callable(self._uncallable, cards[0].id)
        call = self._dispatcher.send_first_healthy(cards, body, stream=stream, headers=headers)
        answer = await unless_client_leaves(request.receive, call)
        return _respond(answer, {**shown, "x-route-card": answer.card.id})

    async def models(self, _: Request) -> Response:
        """`GET /v1/models`."""
        return Response(self._models.listed, media_type=_JSON)

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/{name}`."""
        return Response(self._models.one(request.path_params["name"]), media_type=_JSON)

    def _route(self, target: Target, header_flags: str, body: Mapping[str, Any]) -> Routed:
        # The nearer to the single request, the stronger: an application's settings often fix the name.
        flags = joined_flags(target.flags, flags_in(body), header_flags)
        request = ChatRequest.from_body(body)
        policy = self._router.policies.named(target.policy or DEFAULT_POLICY)
        today = datetime.datetime.now(datetime.UTC).date()
        try:
            return self._router.route(request, flags=flags, policy=policy, unavailable=self._unavailable, today=today)
        except NoCandidateError:
            if not self._unavailable:
                raise
        # Where the limits leave no card either way, this says so; else what is missing gets named.
        wished = self._router.route(request, flags=flags, policy=policy, today=today)
        _check_callable(self._unavailable, *(candidate.card for candidate in wished.decision.candidates))
        return wished


async def _keep_looking(gateway: Gateway, probe: Probe) -> None:
    while True:
        await asyncio.sleep(PROBE_INTERVAL_S)
        await gateway.look_around(probe)


async def _greet(_: Request) -> Response:
    return Response(_GREETING, media_type=_JSON)


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ok"}', media_type=_JSON)


def _check_callable(faults: Mapping[str, str], *cards: str) -> None:
    reasons = list(dict.fromkeys(faults[card] for card in cards if card in faults))
    if reasons:
        more = f" (and {len(reasons) - 5} more)" if len(reasons) > 5 else ""
        problem = f"no model that fits can be called: {'; '.join(reasons[:5])}{more}"
        raise ConfigurationError(f"{problem}. `route doctor` shows what is missing")


async def _read(request: Request) -> bytes:
    """The body, at most MAX_BODY_BYTES long."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            chunks.append(chunk)
            continue
        # Most clients read the answer only after sending everything, so some more is taken in and dropped.
        chunks.clear()
        if size > 4 * MAX_BODY_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB")
    return b"".join(chunks)


def _respond(answer: Answer, shown: Mapping[str, str]) -> Response:
    headers = {**answer.headers, **shown}
    if isinstance(answer.body, Stream):
        return UpstreamResponse(answer.body, answer.status, headers)
    if answer.status >= 400:
        return Response(refusal_body(answer), answer.status, {**headers, "content-type": _JSON})
    return Response(answer.body, answer.status, headers)
