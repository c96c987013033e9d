"""The outermost layer of the application: paths, request ids, the origin check, and a response to any exception."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from router.dispatch import Timeouts
from router.errors import PulvinarError
from router.gateway.http.client.address import TrustedProxies
from router.gateway.http.client.foreign import exchange_under
from router.gateway.http.errors import ErrorResponse, error_response
from router.gateway.http.origins import Visitors
from router.gateway.http.paths import read_path
from router.gateway.http.surfaces import error_body

_LOG = logging.getLogger(__name__)
_UNIQUE_BYTES, _UNIQUE_AT_ONCE = 12, 64
_VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NOT_LOCAL = (
    "without API keys, only requests from this machine are allowed: the Host header, and Origin if present, must be "
    "localhost or a loopback address. Create a key with `route keys add`, have your proxy set these headers, or name "
    "the host in `allowed_hosts` and the origin in `cors` of gateway.yaml"
)
# A proxy in front may read it as a slash, or not: both would decide by different paths.
_ENCODED_SLASH = "%2f"
_NO_SUCH_PATH = "a path may have an encoded slash only in the name of a model or an id"
_FOREIGN_PAGE = "`cors` of gateway.yaml does not name the origin of this page"


class RequestMiddleware:
    """Rewrites the path to that of an endpoint, and adds `x-request-id` to every response: the client's own id if it is
    valid, else a new one. Anthropic's clients read the same id as `request-id`.

    `visitors` are the current rules: without API keys, cross-origin requests from a browser are rejected by their
    Origin, and DNS rebinding by the Host. `base_path` is the path of the gateway behind a reverse proxy. `timeouts`
    limit what is sent to the client, whose address in the log is what the connection or `proxies` state. An unexpected
    exception is logged and answered with status 500, without its cause.

    `posts` are the applications of the paths that most requests are posted to: no table is searched for them. All other
    requests are for `app`.
    """

    def __init__(
        self,
        app: ASGIApp,
        visitors: Callable[[], Visitors],
        base_path: Callable[[], str],
        timeouts: Callable[[], Timeouts],
        proxies: Callable[[], TrustedProxies],
        posts: Mapping[str, ASGIApp],
    ) -> None:
        self.app, self._posts = app, posts
        self._visitors, self._base_path = visitors, base_path
        self._timeouts, self._proxies = timeouts, proxies
        self._unused: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, receive, send = exchange_under(scope, receive, send)
        headers = exchange.headers
        unique, client_id = self._unique(), headers.get("x-request-id")
        if client_id is not None and not _VALID_ID.fullmatch(client_id):
            client_id = None
        request_id = client_id or f"req_{unique}"
        state = scope["state"]
        # A client may reuse its id; a record's id is unique, and begins with the id that the client sees.
        state["record_id"] = f"{client_id}.{unique}" if client_id else request_id
        target = read_path(scope["raw_path"].decode("latin-1"), self._base_path())
        scope["path"], state["model"] = target.path, target.model
        visitors, origin, timeouts = self._visitors(), headers.get("origin"), self._timeouts()
        ids = exchange.added = f"x-request-id: {request_id}\r\nrequest-id: {request_id}\r\n".encode()
        for pair in visitors.cors_headers(origin):
            exchange.added += b"%b: %b\r\n" % pair
        exchange.limit(timeouts.send_s, exchange.connection.loop.time() + timeouts.total_s)
        if _ENCODED_SLASH in target.path.lower():
            error = ErrorResponse(400, _NO_SUCH_PATH, "invalid_request_error", "invalid_path")
            await _error_reply(scope, error)(scope, receive, send)
            return
        if not visitors.are_allowed(headers):
            error = ErrorResponse(403, _NOT_LOCAL, "invalid_request_error", "forbidden_origin")
            await _error_reply(scope, error)(scope, receive, send)
            return
        if visitors.origins and origin is not None and _is_preflight(scope):
            # Its own headers take the place of those of CORS.
            exchange.added = ids
            await _preflight_reply(scope, visitors, origin)(scope, receive, send)
            return
        app = self._posts.get(target.path) if scope["method"] == "POST" else None
        state["client"] = self._proxies().client_of(scope)
        try:
            await (app or self.app)(scope, receive, send)
        except ClientDisconnect:
            # The server learns at once that a connection that was closed here has ended.
            await asyncio.sleep(0)
        except PulvinarError as problem:
            if exchange.has_begun:
                raise
            await _error_reply(scope, error_response(problem))(scope, receive, send)
        except Exception:
            # The outermost layer: the client gets a response whatever the exception is.
            if exchange.has_begun:
                # The server must abort the connection: a normal end would look like a complete response.
                raise
            _LOG.exception("request %s failed", request_id)
            error = ErrorResponse(500, f"internal error (request {request_id})", "server_error", "internal_error")
            await _error_reply(scope, error)(scope, receive, send)
        finally:
            exchange.finish()

    def _unique(self) -> str:
        """A word that nobody can guess, and no other request has."""
        if not self._unused:
            # Each time that the system is asked costs more than all that is done with one word.
            random = os.urandom(_UNIQUE_BYTES * _UNIQUE_AT_ONCE).hex()
            self._unused = [random[at : at + 2 * _UNIQUE_BYTES] for at in range(0, len(random), 2 * _UNIQUE_BYTES)]
        return self._unused.pop()


def _error_reply(scope: Scope, error: ErrorResponse) -> Response:
    body = error_body(scope["path"], error)
    return Response(body, error.status, dict(error.headers), media_type="application/json")


def _is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _preflight_reply(scope: Scope, visitors: Visitors, origin: str) -> Response:
    """The answer to a preflight request, which never has a key."""
    asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
    headers = visitors.preflight_headers(
        origin,
        asked.get(b"access-control-request-headers", ""),
        asked.get(b"access-control-request-private-network") == "true",
    )
    if len(headers) < 2:
        return _error_reply(scope, ErrorResponse(403, _FOREIGN_PAGE, "invalid_request_error", "forbidden_origin"))
    response = Response(status_code=204)
    response.raw_headers.extend(headers)
    return response
