"""Questions that are answered without a model: what would be chosen, and how many tokens a request has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.decide.model_name import read_target
from router.dispatch import Call
from router.errors import PulvinarError, UpstreamError
from router.gateway.config.keys import presented_key
from router.gateway.endpoints.completion import Services
from router.gateway.http.body import read_object, read_raw
from router.gateway.http.errors import error_response
from router.gateway.http.surfaces import CHAT, COMPLETIONS, COUNT_TOKENS, RESPONSES, Surface
from router.gateway.routing.selection import GatewayRequest
from router.wire import count_input

_JSON = "application/json"


class DryRun:
    """Answers them for whoever may use the gateway."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    async def route(self, request: Request) -> Response:
        """`POST /route`: the decision about a body of any surface, without the call."""
        return await self._answered(request, CHAT, self._decision)

    async def count_tokens(self, request: Request) -> Response:
        """`POST /v1/messages/count_tokens`: the upstream's count where it counts, else that of our own tokenizer."""
        return await self._answered(request, COUNT_TOKENS, self._count)

    async def _answered(
        self, request: Request, surface: Surface, answer: Callable[[GatewayRequest], Awaitable[bytes]]
    ) -> Response:
        try:
            return Response(await answer(await self._asked(request, surface)), media_type=_JSON)
        except PulvinarError as error:
            fault = error_response(error)
            return Response(surface.error(fault), fault.status, dict(fault.headers), media_type=_JSON)

    async def _asked(self, request: Request, surface: Surface) -> GatewayRequest:
        loaded = self._parts.live.current
        headers = dict(request.headers)
        key = loaded.keys.authenticate(presented_key(headers))
        raw = await read_raw(request.receive, loaded.config.max_body_bytes)
        body = await asyncio.to_thread(read_object, raw, loaded.config.max_depth)
        return GatewayRequest(surface, loaded, key, headers, body)

    async def _decision(self, asked: GatewayRequest) -> bytes:
        asked = msgspec.structs.replace(asked, surface=_surface_of(asked.body))
        choice = await asyncio.to_thread(self._parts.chooser.choose, asked)
        if choice.routed is None:
            return msgspec.json.encode({"card": choice.cards[0].id, "named": True})
        return msgspec.json.encode(choice.routed.decision.document())

    async def _count(self, asked: GatewayRequest) -> bytes:
        target = read_target(asked.body.get("model"), asked.loaded.config.aliases)
        if target.card is not None:
            choice = self._parts.chooser.choose(asked)
            try:
                answer = await self._parts.dispatcher.count_tokens(
                    choice.cards[0], Call("messages", asked.body, headers=asked.headers)
                )
            except UpstreamError:
                answer = None
            if answer is not None and answer.status == 200 and isinstance(answer.body, bytes):
                return answer.body
        return await asyncio.to_thread(_estimate, asked)


def _estimate(asked: GatewayRequest) -> bytes:
    parts = count_input(asked.body)
    count = asked.loaded.router.predictor.encoder.count_tokens
    return msgspec.json.encode({"input_tokens": parts.other_tokens + sum(count(text) for text in parts.texts)})


def _surface_of(body: Mapping[str, Any]) -> Surface:
    if "messages" in body:
        return CHAT
    return RESPONSES if "input" in body else COMPLETIONS if "prompt" in body else CHAT
