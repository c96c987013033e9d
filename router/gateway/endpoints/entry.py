"""What every endpoint that needs a key does first: who asks, and whether more of it is allowed now."""

from __future__ import annotations

from collections.abc import Mapping

from router.cards import Card
from router.dispatch.bounds.admission import Turn
from router.gateway.config.keys import Key, presented_key
from router.gateway.config.reload import ActiveConfig
from router.gateway.endpoints.services import Services
from router.gateway.routing.selection import GatewayRequest


def authenticated(active: ActiveConfig, headers: Mapping[str, str]) -> Key | None:
    """The key of a request; None where the gateway has none. Raises InvalidKeyError."""
    return active.keys.authenticate(presented_key(headers))


async def take_request(services: Services, request: GatewayRequest, now_s: float) -> None:
    """Count a request against the rate of its key, before its body is read. Raises RateLimitError and BusyError."""
    services.admission.check_room(tenant_of(request))
    key = request.key
    if key is not None and key.rpm is not None:
        await services.state.take_request(key.id, key.rpm, now_s)


def tenant_of(request: GatewayRequest) -> str:
    """The id of the request's key; empty where there is no other, so that nothing need be kept for it."""
    return request.key_id if len(request.active.keys) > 1 else ""


def turn_of(services: Services, request: GatewayRequest, card: Card | None) -> Turn:
    """Who wants to run a request at `card`; None where it is called at none."""
    key = request.key
    name = card.server_id if card is not None and services.selector.callable_cards > 1 else ""
    # A key with a limit of its own is counted even where it is the only one.
    return Turn(tenant_of(request), name, None if key is None else key.concurrency)
