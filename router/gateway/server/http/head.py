"""What is wrong with the head of a request, and the response to it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import unquote

import httptools
from msgspec import Struct

from router.gateway.http.errors import ErrorResponse
from router.gateway.http.paths import read_path
from router.gateway.http.surfaces import error_body

# Which of several values counts would depend on the reader: a proxy and the gateway must never differ.
_SINGLE = (b"authorization", b"x-api-key", b"api-key", b"content-type", b"content-encoding")
# Paths that are served also where there are too many connections.
_HEALTH = frozenset({"/healthz", "/readyz", "/metrics"})


class Refusal(Struct, frozen=True):
    """An HTTP status and the reason, for the client."""

    status: int
    message: str


INVALID = Refusal(400, "this is not a valid HTTP/1.1 request")
TOO_LARGE = Refusal(431, "the headers are larger than the gateway allows (`connections.head` of gateway.yaml)")
TOO_MANY = Refusal(431, "there are more headers than the gateway allows (`connections.headers` of gateway.yaml)")
TOO_LONG = Refusal(414, "the URL is longer than the gateway allows (`connections.head` of gateway.yaml)")
TOO_SLOW = Refusal(408, "the request did not arrive in time (`connections.head_time` of gateway.yaml)")
LONG_TRAILER = Refusal(400, "what is between the parts of the body is too long")
BUSY = Refusal(503, "too many connections (`connections` of gateway.yaml); try again")


def head_problem(version: str, headers: Sequence[tuple[bytes, bytes]], fields: Mapping[str, str]) -> Refusal | None:
    """Why a head with these headers, whose names are in lower case, is refused; None where it is not. `fields` are the
    headers by their names, each with its last value.
    """
    # Hardly any request has a header twice.
    names = [name for name, _ in headers] if len(fields) < len(headers) else ()
    hosts = names.count(b"host") if names else int("host" in fields)
    if hosts != 1 and (hosts or version == "1.1"):
        return Refusal(400, "a request needs exactly one Host header")
    for name in _SINGLE if names else ():
        if names.count(name) > 1:
            return Refusal(400, f"the header {name.decode()} is there more than once")
    return None


def split_url(url: bytes) -> tuple[bytes, str, bytes]:
    """The path of a URL as it was sent, decoded, and the query. Raises ValueError or httptools' error where it has no
    valid ones, or is not ASCII.
    """
    if url.startswith(b"/") and b"#" not in url:
        raw_path, _, query = url.partition(b"?")
    else:
        parsed = httptools.parse_url(url)
        if parsed.path is None:
            raise ValueError("a URL without a path")
        raw_path, query = parsed.path, parsed.query or b""
    path = raw_path.decode("ascii")
    return raw_path, unquote(path) if "%" in path else path, query


def is_health(url: bytes, base_path: str) -> bool:
    """Whether a request for `url` asks how the gateway is, below `base_path` or not."""
    return read_path(url.partition(b"?")[0].decode("latin-1"), base_path).path in _HEALTH


def response_to(refusal: Refusal, url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The whole response, after which the connection is closed, in the shape that clients of `url` read."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    path = url.partition(b"?")[0].decode("latin-1")
    of_anthropic = any(name == b"anthropic-version" for name, _ in headers)
    error = ErrorResponse(refusal.status, refusal.message, kind, None)
    body = error_body(path, error, of_anthropic=of_anthropic)
    retry = "retry-after: 1\r\n" if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\ncontent-type: application/json\r\n"
        f"x-request-id: req_{secrets.token_hex(12)}\r\n"
        f"content-length: {len(body)}\r\n{retry}connection: close\r\n\r\n"
    )
    return head.encode() + body
