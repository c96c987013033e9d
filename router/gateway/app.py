"""The endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router import __version__
from router.dispatch import Answer, Dispatcher, Stream
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
    refuse_flags,
    wants_stream,
)
from router.gateway.streaming import UpstreamResponse, unless_client_leaves
from router.gateway.watch import Watch
from router.pipeline import Routed, Router
from router.types import ChatRequest

MAX_BODY_BYTES = 16 * 1024 * 1024
# Choosing a model for more than this takes long enough for other clients to notice.
_LARGE_BODY_BYTES = 256 * 1024
_JSON = "application/json"
_GREETING = b'{"name":"pulvinar","version":"%s"}' % __version__.encode()


def make_app(router: Router, dispatcher: Dispatcher, watch: Watch | None = None) -> Starlette:
    """The gateway as an ASGI application. It closes `dispatcher` when it shuts down.

    `watch` looks at the start and then again and again; the cards it finds unavailable are not chosen, but a client
    may still name those that are configured. Raises ConfigurationError where there is no policy for the model name
    `auto`.
    """
    if DEFAULT_POLICY not in router.policies.ids:
        raise ConfigurationError(f'there is no policy "{DEFAULT_POLICY}", which the model name "auto" stands for')
    watch = watch or Watch(router.catalog)
    gateway = Gateway(router, dispatcher, watch)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await watch.look()
        looking = asyncio.create_task(watch.keep_looking())
        yield
        looking.cancel()
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

    def __init__(self, router: Router, dispatcher: Dispatcher, watch: Watch) -> None:
        self._router, self._dispatcher, self._watch = router, dispatcher, watch
        self._models = ModelList(router.catalog, router.policies)

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        raw = await _read(request)
        large = len(raw) > _LARGE_BODY_BYTES
        body = await asyncio.to_thread(read_body, raw) if large else read_body(raw)
        stream, target = wants_stream(body), read_target(body)
        headers = dict(request.headers)
        shown: dict[str, str] = {}
        if target.card is None:
            wish = target, headers.get("x-route-flags", ""), body
            routed = await asyncio.to_thread(self._route, *wish) if large else self._route(*wish)
            shown["x-route-policy"] = routed.decision.policy
            plan, body = routed.decision.plan, dict(routed.request.body)
            cards = [self._router.catalog.named(card) for card in (plan.card, *plan.fallbacks)]
        else:
            cards = [self._router.catalog.named(target.card)]
            refuse_flags(target.card, headers.get("x-route-flags", ""), body)
            _check_callable(self._watch.unconfigured, cards[0].id)
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
        # Read once: the watch may look while a thread decides.
        unavailable = self._watch.unavailable
        today = datetime.datetime.now(datetime.UTC).date()
        try:
            return self._router.route(request, flags=flags, policy=policy, unavailable=unavailable, today=today)
        except NoCandidateError:
            if not unavailable:
                raise
        # Where the limits leave no card either way, this says so; else what is missing gets named.
        wished = self._router.route(request, flags=flags, policy=policy, today=today)
        _check_callable(unavailable, *(candidate.card for candidate in wished.decision.candidates))
        return wished


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
