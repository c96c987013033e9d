"""Endpoints that call no model: the decision about a request, and the count of its tokens."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.decide.model_name import read_target
from router.dispatch import Call
from router.errors import UpstreamError
from router.gateway.endpoints.keyed import Entry, turn_of
from router.gateway.endpoints.services import Services
from router.gateway.http.client.exchange import exchange_of
from router.gateway.http.disconnect import CancelOnDisconnect
from router.gateway.http.surfaces import CHAT, COMPLETIONS, COUNT_TOKENS, RESPONSES, Surface
from router.gateway.routing.permissions import Ownership, permitted
from router.gateway.routing.selection import GatewayRequest
from router.types import Guard, Rejection
from router.wire import count_input
from router.wire.texts import HUMAN_FIELDS

_JSON = "application/json"
_SURFACES = {surface.api: surface for surface in (CHAT, RESPONSES, COMPLETIONS)}


class DryRun:
    """Answers from what the gateway knows by itself, for clients with a valid key."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def route(self, http: Request, entry: Entry) -> Response:
        """`POST /route`: the decision about a body of any surface, without the call."""
        request = await self._read(http, entry, CHAT)
        turn = turn_of(self._services, request, None)
        with _cancelled_on_disconnect(http):
            async with self._services.admission.turn(turn):
                return Response(await self._decision(request), media_type=_JSON)

    async def count_tokens(self, http: Request, entry: Entry) -> Response:
        """`POST /v1/messages/count_tokens`: the upstream's count where it offers one, else that of our tokenizer."""
        request = await self._read(http, entry, COUNT_TOKENS)
        with _cancelled_on_disconnect(http):
            return Response(await self._count(request, entry), media_type=_JSON)

    async def _read(self, http: Request, entry: Entry, surface: Surface) -> GatewayRequest:
        body = await entry.read_body(http)
        request = msgspec.structs.replace(entry.request, surface=surface, body=body, is_large=True)
        entry.request = permitted(request)[0]
        return entry.request

    async def _decision(self, request: GatewayRequest) -> bytes:
        request = msgspec.structs.replace(request, surface=_surface_of(request.body))
        selection = await self._services.selector.select(request)
        if selection.routed is None:
            return msgspec.json.encode({"card": selection.card.id, "named": True})
        document = selection.routed.decision.document()
        if request.key is not None and (denied := request.active.keys.denied(request.key)):
            document["rejections"] = {
                name: why
                for name, why in document["rejections"].items()
                if name not in denied and not _names_any(why, denied)
            }
            if "plans" in document:
                shown = document["plans"].items()
                document["plans"] = {
                    name: plan for name, plan in shown if not any(step.card in denied for step in plan.steps)
                }
            canary = selection.routed.decision.canary
            if canary is not None and not {canary.card, canary.of}.isdisjoint(denied):
                del document["canary"]
            document["guard"] = _without_cards(document["guard"], denied)
        return msgspec.json.encode(document)

    async def _count(self, request: GatewayRequest, entry: Entry) -> bytes:
        services = self._services
        target = read_target(request.body.get("model"), request.active.aliases_of(request.key))
        card = None
        if target.card is not None:
            await Ownership(services.state).check(request, time.time())
            card = (await services.selector.select(request)).card
        async with services.admission.turn(turn_of(services, request, card)):
            if card is not None:
                # Half of the time, so that the tokenizer can count what an upstream does not.
                half_s = (time.monotonic() + entry.ends_s) / 2
                call = Call("messages", request.body, headers=request.headers, ends_s=entry.ends_s, first_by_s=half_s)
                try:
                    response = await services.dispatcher.count_tokens(card, call)
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


def _names_any(rejection: Rejection, hidden: Collection[str]) -> bool:
    """Whether the reason why a plan is rejected begins with a member that is hidden."""
    return any(reason.partition(": ")[0] in hidden for reason in (rejection.reason, *rejection.also))


def _estimate(request: GatewayRequest) -> bytes:
    parts = count_input(request.body)
    count = request.active.router.predictor.encoder.count_tokens
    return msgspec.json.encode({"input_tokens": parts.other_tokens + sum(count(text) for text in parts.texts)})


def _surface_of(body: Mapping[str, Any]) -> Surface:
    return next((_SURFACES[api] for field, api in HUMAN_FIELDS.items() if field in body), CHAT)


def _cancelled_on_disconnect(http: Request) -> CancelOnDisconnect:
    return CancelOnDisconnect(exchange_of(http.scope).connection)
