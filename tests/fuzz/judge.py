"""The problems of a response to a request that may be invalid in any way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from tests.faults.surfaces import error_problems
from tests.fuzz.mutations import CLIENT_SECRET, FORBIDDEN_URL, FuzzRequest

INTERNALS = re.compile(rb'Traceback|File \\?"|site-packages|router/[a-z]+/[a-z]+\.py|object at 0x')
_ENDS = (b"data: [DONE]", b"event: message_stop", b"event: response.completed")
_GATEWAY_FIELDS = ("api_base", "base_url", "api_key", "route")


class Reply(Struct, frozen=True):
    """A response; status 0 if there was none."""

    status: int
    headers: dict[str, str]
    body: bytes


def reply_problems(request: FuzzRequest, reply: Reply) -> Iterator[str]:
    """The problems of `reply` to `request`, with an upstream that has no faults."""
    if reply.status == 0:
        yield f"no response: {reply.body.decode()}"
        return
    if reply.status >= 500:
        yield f"{reply.status}: {reply.body[:200]!r}"
    if match := INTERNALS.search(reply.body):
        yield f"shows {match[0]!r}: {reply.body[:200]!r}"
    if "x-request-id" not in reply.headers:
        yield f"{reply.status} without x-request-id: {reply.body[:100]!r}"
    if request.method == "HEAD":
        return
    content_type = reply.headers.get("content-type", "")
    if reply.status >= 400:
        messages = request.path.startswith(("/v1/messages", "/messages"))
        problems = list(error_problems(reply.body, "anthropic" if messages else "openai"))
        # Where no surface has handled it, the shape is that of the client.
        of_anthropic = any(name.lower() == "anthropic-version" for name, _ in request.headers)
        yield from list(error_problems(reply.body, "anthropic")) if problems and of_anthropic else problems
    elif content_type.startswith("text/event-stream"):
        yield from _stream_problems(reply.body)
    elif content_type.startswith("application/json") and reply.body and _json(reply.body) is None:
        yield f"not JSON: {reply.body[:100]!r}"


def upstream_problems(headers: dict[str, str], body: dict[str, Any], key: str) -> Iterator[str]:
    """The problems of a request as it reached an upstream whose key is `key`."""
    if headers.get("authorization") != f"Bearer {key}" or "x-api-key" in headers:
        yield "credentials that are not the gateway's"
    if any(CLIENT_SECRET in value or FORBIDDEN_URL in value for value in headers.values()):
        yield "a client header that no upstream may receive"
    if names := [name for name in _GATEWAY_FIELDS if name in body]:
        yield f"the client's {', '.join(names)}"


def _stream_problems(body: bytes) -> Iterator[str]:
    if b'data: {"error"' in body or b"event: error" in body:
        yield f"an error in a healthy stream: {body[-300:]!r}"
    elif not any(end in body for end in _ENDS):
        yield f"a stream without its last event: {body[-300:]!r}"


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
