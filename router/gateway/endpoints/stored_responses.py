"""Which deployment made a stored response, so that a client can get, cancel or delete it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from router.dispatch.providers import native_apis
from router.dispatch.response import UpstreamResponse
from router.formats.json import json_or_none
from router.gateway.routing.selection import GatewayRequest
from router.store.state.protocol import LastAnswer, StateError, StateStore
from router.types import Attempt
from router.wire.sse import events_of, read_event

_PREFIX = "response:"


async def remember_response(
    state: StateStore,
    request: GatewayRequest,
    response: UpstreamResponse,
    piece: bytes,
    attempts: Sequence[Attempt],
    now_s: float,
) -> None:
    """Remember which of the deployments that were tried made the response whose whole body, or first events, are
    `piece`, for the client's key.

    Only an upstream that supports responses itself keeps them, unless the client says `store: false`.
    """
    if not attempts or request.surface.api != "responses" or request.body.get("store") is False:
        return
    if "responses" not in native_apis(response.card):
        return
    id_ = _id_in(piece)
    if id_ is not None:
        of_card = (each for each in reversed(attempts) if each.card == response.card.id)
        attempt = next(of_card, attempts[-1])
        with contextlib.suppress(StateError):
            await state.remember(_PREFIX + id_, LastAnswer(attempt.deployment), now_s, request.key_id)


async def deployment_of_response(state: StateStore, id_: str, key_id: str, now_s: float) -> str | None:
    """The name of the deployment that made the response; None where it is unknown, or belongs to another key."""
    made_by = await state.last_answer(_PREFIX + id_, now_s, key_id)
    return None if made_by is None else made_by.card


def _id_in(piece: bytes) -> str | None:
    if piece.lstrip()[:1] == b"{":
        return _id_of(json_or_none(piece))
    for event in events_of(piece):
        value = read_event(event).value
        if value is not None and (id_ := _id_of(value.get("response"))):
            return id_
    return None


def _id_of(response: Any) -> str | None:
    id_ = response.get("id") if isinstance(response, Mapping) else None
    return id_ if isinstance(id_, str) and id_ else None
