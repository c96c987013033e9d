"""Endpoints that call no model: the decision about a request, and the count of its tokens."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.decide.model_name import read_target
from router.dispatch import Call
from router.errors import PulvinarError, UpstreamError
from router.gateway.config.keys import presented_key
from router.gateway.endpoints.services import Services
from router.gateway.http.body import read_body, read_object
from router.gateway.http.errors import error_response
from router.gateway.http.surfaces import CHAT, COMPLETIONS, COUNT_TOKENS, RESPONSES, Surface
from router.gateway.routing.permissions import Ownership, permitted
from router.gateway.routing.selection import GatewayRequest
from router.types import Guard
from router.wire import count_input
from router.wire.texts import HUMAN_FIELDS

_JSON = "application/json"
_SURFACES = {surface.api: surface for surface in (CHAT, RESPONSES, COMPLETIONS)}


class DryRun:
    """Answers from what the gateway knows by itself, for clients with a valid key."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def route(self, request: Request) -> Response:
        """`POST /route`: the decision about a body of any surface, without the call."""
        return await self._respond(request, CHAT, self._decision)

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`: the upstream's count where it offers one, else that of our tokenizer."""
        return await self._respond(request, COUNT_TOKENS, self._count)

    async def _respond(
        self, request: Request, surface: Surface, answer: Callable[[GatewayRequest], Awaitable[bytes]]
    ) -> Response:
        try:
            return Response(await answer(await self._read(request, surface)), media_type=_JSON)
        except PulvinarError as error:
            shown = error_response(error)
            return Response(surface.error(shown), shown.status, dict(shown.headers), media_type=_JSON)

    async def _read(self, request: Request, surface: Surface) -> GatewayRequest:
        active = self._services.reloader.current
        headers = dict(request.headers)
        key = active.keys.authenticate(presented_key(headers))
        raw = await read_body(request.receive, headers, active.config.max_body_bytes)
        body = await asyncio.to_thread(read_object, raw, active.config.max_depth)
        return permitted(GatewayRequest(surface, active, key, headers, body, is_large=True))[0]

    async def _decision(self, request: GatewayRequest) -> bytes:
        request = msgspec.structs.replace(request, surface=_surface_of(request.body))
        selection = await self._services.selector.select(request)
        if selection.routed is None:
            return msgspec.json.encode({"card": selection.card.id, "named": True})
        document = selection.routed.decision.document()
        if request.key is not None and (denied := request.active.keys.denied(request.key)):
            document["rejections"] = {card: why for card, why in document["rejections"].items() if card not in denied}
            document["guard"] = _without_cards(document["guard"], denied)
        return msgspec.json.encode(document)

    async def _count(self, request: GatewayRequest) -> bytes:
        target = read_target(request.body.get("model"), request.active.aliases)
        if target.card is not None:
            await Ownership(self._services.state).check(request, time.time())
            selection = await self._services.selector.select(request)
            call = Call("messages", request.body, headers=request.headers)
            try:
                response = await self._services.dispatcher.count_tokens(selection.card, call)
            except UpstreamError:
                response = None
            if response is not None and response.status == 200 and isinstance(response.body, bytes):
                return response.body
        return await asyncio.to_thread(_estimate, request)


def _without_cards(guard: Guard, hidden: Collection[str]) -> Guard:
    """The guard's explanation where it names none of these cards, else without its reason and their names."""
    default, best = (None if card in hidden else card for card in (guard.default, guard.best))
    # The reason begins with the policy's default card where that is not a candidate.
    is_named = any(card in hidden for card in re.findall(r"[^\s;,()]+", guard.reason))
    return msgspec.structs.replace(guard, default=default, best=best, reason="" if is_named else guard.reason)


def _estimate(request: GatewayRequest) -> bytes:
    parts = count_input(request.body)
    count = request.active.router.predictor.encoder.count_tokens
    return msgspec.json.encode({"input_tokens": parts.other_tokens + sum(count(text) for text in parts.texts)})


def _surface_of(body: Mapping[str, Any]) -> Surface:
    return next((_SURFACES[api] for field, api in HUMAN_FIELDS.items() if field in body), CHAT)
