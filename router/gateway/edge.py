"""The outermost layer of the application: names every request, and lets no exception out."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.gateway.openai import error_body

_LOG = logging.getLogger(__name__)
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Edge:
    """Gives every answer an `x-request-id`, the client's own where it sent a sane one.

    A stray exception becomes an answer of status 500 that says nothing of its cause, and a line in the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else f"req_{secrets.token_hex(12)}"
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_named)
        except ClientDisconnect:
            return
        except Exception:
            # The outermost edge: whatever it was, the client gets an answer.
            if started:
                # The server must break the connection: a quiet end would look like a whole answer.
                raise
            _LOG.exception("request %s failed", request_id)
            body = error_body(f"internal error (request {request_id})", "server_error", "internal_error")
            await Response(body, 500, media_type="application/json")(scope, receive, send_named)
