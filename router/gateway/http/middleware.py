"""The outermost layer of the application: names every request, and lets no exception out."""

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
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_FOREIGN = (
    "without keys (`route keys add`) only programs and pages of this machine may ask: the Host of a request, and its "
    "Origin where it has one, must be "
    "a loopback address or localhost (a proxy in front has to set them so)"
)


class RequestMiddleware:
    """Gives every answer an `x-request-id`, the client's own where it sent a sane one; Anthropic's clients read it as
    `request-id`.

    Where no key is needed (`needs_no_key`), refuses what a web page elsewhere made a browser of this machine send: its
    Origin tells, or its Host, where the page's owner has pointed a name at this machine. A stray exception becomes an
    answer of status 500 that says nothing of its cause, and a line in the log.
    """

    def __init__(self, app: ASGIApp, needs_no_key: Callable[[], bool]) -> None:
        self.app, self._needs_no_key = app, needs_no_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own, asked = secrets.token_hex(12), _asked_id(scope)
        request_id = asked or f"req_{own}"
        # Clients may send one id twice; a record's is unique, and begins with what the client sees.
        scope.setdefault("state", {})["record_id"] = f"{asked}.{own}" if asked else request_id
        name = request_id.encode()
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", name), (b"request-id", name)]
            await send(message)

        if self._needs_no_key() and not _from_this_machine(scope):
            fault = ErrorResponse(403, _FOREIGN, "invalid_request_error", "forbidden_origin")
            await _answer(scope, fault)(scope, receive, send_named)
            return
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
            fault = ErrorResponse(500, f"internal error (request {request_id})", "server_error", "internal_error")
            await _answer(scope, fault)(scope, receive, send_named)


def _answer(scope: Scope, fault: ErrorResponse) -> Response:
    return Response(error_body(scope["path"], fault), fault.status, media_type="application/json")


def _asked_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            asked: str = value.decode("latin-1")
            return asked if _SANE_ID.fullmatch(asked) else None
    return None


def _from_this_machine(scope: Scope) -> bool:
    # A request without a Host comes from no browser: some load balancers ask for the health so.
    return all(
        _is_loopback(name, value.decode("latin-1")) for name, value in scope["headers"] if name in (b"host", b"origin")
    )


@functools.lru_cache(maxsize=256)
def _is_loopback(name: bytes, value: str) -> bool:
    return is_loopback(f"http://{value}" if name == b"host" else value)
