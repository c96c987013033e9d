"""What every endpoint that needs a key does first, and those that answer without a plan: limited, logged and recorded
as all others are.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from router.cards import Card
from router.dispatch.bounds.admission import Turn
from router.dispatch.bounds.body_memory import Reserved
from router.dispatch.bounds.pace import Pace
from router.errors import PulvinarError
from router.formats.units import rounded_ms
from router.gateway.config.keys import Key, presented_key
from router.gateway.config.reload import ActiveConfig
from router.gateway.endpoints.services import Services
from router.gateway.http.body import read_body, read_json_object
from router.gateway.http.client.connection import EndsAt
from router.gateway.http.client.exchange import Exchange, exchange_of
from router.gateway.http.disconnect import CLIENT_CLOSED_REQUEST
from router.gateway.http.errors import error_response
from router.gateway.http.surfaces import CHAT
from router.gateway.routing.selection import GatewayRequest
from router.types import Outcome


def authenticated(active: ActiveConfig, headers: Mapping[str, str], exchange: Exchange | None = None) -> Key | None:
    """The key of a request; None where the gateway has none. The connection of `exchange` is known to have it.

    Raises InvalidKeyError.
    """
    key = active.keys.authenticate(presented_key(headers))
    if exchange is not None and key is not None:
        exchange.accept_key(key.id)
    return key


def check_room(services: Services, request: GatewayRequest) -> None:
    """Raise BusyError where the request could not run, before it is counted and its body is read."""
    services.admission.check_room(tenant_of(request))


async def take_request(services: Services, request: GatewayRequest, now_s: float) -> None:
    """Count a request against the rate of its key. Raises RateLimitError."""
    key = request.key
    if key is not None and key.rpm is not None:
        await services.state.take_request(key.id, key.rpm, now_s)


def tenant_of(request: GatewayRequest) -> str:
    """The id of the request's key; empty where there is no other, so that nothing need be kept for it."""
    return request.key_id if len(request.active.keys) > 1 else ""


def turn_of(services: Services, request: GatewayRequest, card: Card | None) -> Turn:
    """Who wants to run a request at `card`; None where it is called at none."""
    key = request.key
    name = card.id_without_effort if card is not None and services.selector.callable_cards > 1 else ""
    # A key with a limit of its own is counted even where it is the only one.
    return Turn(tenant_of(request), name, None if key is None else key.concurrency)


class Entry:
    """A request with a valid key, within its rate. An endpoint that reads the body reserves `memory` for it, and puts
    it into `request`; the answer ends at `ends_s`, in seconds of the monotonic clock.
    """

    def __init__(self, request: GatewayRequest, memory: Reserved, ends_s: float, pace: Pace) -> None:
        self.request, self.memory, self.ends_s, self._pace = request, memory, ends_s, pace

    async def read_body(self, http: Request) -> dict[str, Any]:
        """The JSON object in the body, within the configured limits. Raises CallerError and BusyError."""
        config = self.request.active.config
        raw = await read_body(exchange_of(http.scope), config.max_body_bytes, self.memory)
        body = await read_json_object(raw, config.json_limits, self.memory)
        await self._pace.turn(tenant_of(self.request))
        return body


Answer = Callable[[Request, Entry], Awaitable[Response]]
"""What an endpoint does for a request that has entered. Raises PulvinarError."""


class Keyed:
    """The ASGI application of one endpoint. `needs_key`: whether requests need one now.

    What the endpoint raises is recorded here, and answered by the application around it.
    """

    def __init__(
        self, services: Services, operation: str, answer: Answer, needs_key: Callable[[], bool] = lambda: True
    ) -> None:
        self._services, self._operation, self._answer, self._needs_key = services, operation, answer, needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and record it first."""
        http, at, started_s = Request(scope, receive), time.time(), time.monotonic()
        status, asked = 500, None
        code: str | None = "internal_error"
        services, active = self._services, self._services.reloader.current
        exchange = exchange_of(scope)
        try:
            key = authenticated(active, exchange.headers, exchange) if self._needs_key() else None
            asked = GatewayRequest(CHAT, active, key, exchange.headers, {})
            if http.method == "POST":
                # Lists and metrics take no turn: they say what is wrong also where the gateway is busy.
                check_room(services, asked)
            await take_request(services, asked, at)
            with services.bodies.reserved(tenant_of(asked)) as memory:
                entry = Entry(asked, memory, exchange.ends_s, services.pace)
                try:
                    async with EndsAt(exchange.ends_s):
                        response = await self._answer(http, entry)
                finally:
                    asked = entry.request
            status, code = response.status_code, None
        except PulvinarError as error:
            shown = error_response(error)
            status, code = shown.status, shown.code
            raise
        except HTTPException as error:
            status, code = error.status_code, None
            raise
        except ClientDisconnect:
            status, code = CLIENT_CLOSED_REQUEST, "client_left"
            raise
        finally:
            outcome = Outcome(status=status, total_ms=rounded_ms(time.monotonic() - started_s), error=code)
            id_, client = scope["state"]["record_id"], scope["state"]["client"]
            record = services.recorder.record_of(id_, at, self._operation, asked, None, outcome, client)
            await services.write(record)
        await response(scope, receive, send)
