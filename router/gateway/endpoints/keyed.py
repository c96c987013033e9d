"""Endpoints that need a key and answer without a plan: limited, logged and recorded as all others are."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from router.dispatch.bounds.body_memory import Reserved
from router.errors import PulvinarError
from router.gateway.endpoints.entry import authenticated, take_request, tenant_of
from router.gateway.endpoints.services import Services
from router.gateway.http.client.sending import Sender, ends_at
from router.gateway.http.errors import error_response
from router.gateway.http.surfaces import CHAT
from router.gateway.routing.selection import GatewayRequest
from router.types import Outcome

_CLIENT_CLOSED_REQUEST = 499


class Entry:
    """A request with a valid key, within its rate. An endpoint that reads the body reserves `memory` for it, and puts
    it into `request`; the answer ends at `ends_s`, in seconds of the monotonic clock.
    """

    def __init__(self, request: GatewayRequest, memory: Reserved, ends_s: float) -> None:
        self.request, self.memory, self.ends_s = request, memory, ends_s


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
        sender: Sender = scope["state"]["sender"]
        try:
            key = authenticated(active, http.headers) if self._needs_key() else None
            asked = GatewayRequest(CHAT, active, key, dict(http.headers), {})
            await take_request(services, asked, at)
            async with services.bodies.reserved(tenant_of(asked)) as memory, ends_at(sender.ends_s):
                entry = Entry(asked, memory, sender.ends_s)
                try:
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
            status, code = _CLIENT_CLOSED_REQUEST, "client_left"
            raise
        finally:
            outcome = Outcome(status=status, total_ms=round((time.monotonic() - started_s) * 1000, 3), error=code)
            id_, client = scope["state"]["record_id"], scope["state"]["client"]
            record = services.recorder.record_of(id_, at, self._operation, asked, None, outcome, client)
            for sink in services.sinks:
                sink(record)
        await response(scope, receive, send)
