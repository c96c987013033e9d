"""The outermost layer of the application: request ids, the origin check, and a response to any exception."""

from __future__ import annotations

import functools
import logging
import re
import secrets
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.formats.net import is_loopback
from router.gateway.http.errors import ErrorResponse
from router.gateway.http.surfaces import error_body

_LOG = logging.getLogger(__name__)
_VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NOT_LOCAL = (
    "without API keys, only requests from this machine are allowed: the Host header, and Origin if present, must be "
    "localhost or a loopback address. Create a key with `route keys add`, or have your proxy set these headers"
)


class RequestMiddleware:
    """Adds `x-request-id` to every response: the client's own id if it is valid, else a new one.

    Anthropic's clients read the same id as `request-id`. Without API keys (`needs_no_key`), cross-origin requests from
    a browser are rejected by their Origin, and DNS rebinding by the Host. An unexpected exception is logged and
    answered with status 500, without its cause.
    """

    def __init__(self, app: ASGIApp, needs_no_key: Callable[[], bool]) -> None:
        self.app, self._needs_no_key = app, needs_no_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        unique, client_id = secrets.token_hex(12), _client_request_id(scope)
        request_id = client_id or f"req_{unique}"
        # A client may reuse its id; a record's id is unique, and begins with the id that the client sees.
        scope.setdefault("state", {})["record_id"] = f"{client_id}.{unique}" if client_id else request_id
        header = request_id.encode()
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", header), (b"request-id", header)]
            await send(message)

        if self._needs_no_key() and not _from_this_machine(scope):
            error = ErrorResponse(403, _NOT_LOCAL, "invalid_request_error", "forbidden_origin")
            await _error_reply(scope, error)(scope, receive, send_with_id)
            return
        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            return
        except Exception:
            # The outermost layer: the client gets a response whatever the exception is.
            if started:
                # The server must abort the connection: a normal end would look like a complete response.
                raise
            _LOG.exception("request %s failed", request_id)
            error = ErrorResponse(500, f"internal error (request {request_id})", "server_error", "internal_error")
            await _error_reply(scope, error)(scope, receive, send_with_id)


def _error_reply(scope: Scope, error: ErrorResponse) -> Response:
    return Response(error_body(scope["path"], error), error.status, media_type="application/json")


def _client_request_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if _VALID_ID.fullmatch(text) else None
    return None


def _from_this_machine(scope: Scope) -> bool:
    # A request without a Host does not come from a browser; some load balancers send such health checks.
    return all(
        _is_loopback(name, value.decode("latin-1")) for name, value in scope["headers"] if name in (b"host", b"origin")
    )


@functools.lru_cache(maxsize=256)
def _is_loopback(name: bytes, value: str) -> bool:
    return is_loopback(f"http://{value}" if name == b"host" else value)
