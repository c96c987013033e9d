"""The response of an upstream."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.stream import Events
from router.errors import UpstreamError
from router.formats.json import json_or_none
from router.types import Usage
from router.wire.errors import Fault, fault_of

CONNECTION_FAULTS = frozenset({"unreachable", "cut", "empty"})
"""The faults of a connection that failed: a retry may help, or the server may be restarting."""

_MAX_MESSAGE_CHARACTERS = 300
_PASSED_BACK = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")
# These belong to one connection or to the body as it was sent, or the gateway sets them itself.
_NEVER_PASSED_BACK = (
    "access-control-",
    "alt-svc",
    "connection",
    "content-",
    "date",
    "keep-alive",
    "proxy-",
    "request-id",
    "server",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "x-request-id",
    "x-route-",
)


class UpstreamResponse(Struct, frozen=True, eq=False):
    """An upstream's HTTP response. `headers` contains only those that a client may see; names are in lower case.

    An error's `body` is empty where the upstream's message might reveal the gateway's credentials. `usage` is that of a
    whole body; a stream has its own `usage`. `decoded` is the decoded body of an error, or where the call set `decode`;
    `fault` is what an error means. `changed`: the request's fields that were left out or limited, since the upstream
    does not support them.
    """

    card: Card
    status: int
    headers: Mapping[str, str]
    body: bytes | Events
    usage: Usage | None = None
    decoded: Any = None
    fault: Fault | None = None
    changed: tuple[str, ...] = ()


def error_text(response: UpstreamResponse) -> str:
    """An error response in one line, with the upstream's own message where it has one that may be shown."""
    status = f'the upstream of the card "{response.card.id}" answered HTTP {response.status}'
    if fault_in(response).kind == "key":
        return f"{status}: it rejects the API key"
    message = " ".join(error_message(response).split())[:_MAX_MESSAGE_CHARACTERS]
    return f"{status}: {message}" if message else status


def error_message(response: UpstreamResponse) -> str:
    """The upstream's error message, else its whole body."""
    assert isinstance(response.body, bytes)
    return fault_in(response).details.message or response.body.decode("utf-8", "replace")


def fault_in(response: UpstreamResponse) -> Fault:
    """What an error response means."""
    if response.fault is not None:
        return response.fault
    assert isinstance(response.body, bytes)
    return fault_of(response.status, json_or_none(response.body))


def passed_back(headers: Mapping[str, str], patterns: tuple[str, ...] = ()) -> dict[str, str]:
    """The upstream's headers that a client may see, and those that `patterns` allow (`x-ratelimit-*`)."""
    shown = {name: headers[name] for name in _PASSED_BACK if name in headers}
    if patterns:
        lowered = ((name.lower(), value) for name, value in headers.items())
        shown |= {name: value for name, value in lowered if _is_named(name, patterns)}
    return shown


def _is_named(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns, each a name or its beginning and `*`, names this header."""
    if name.startswith(_NEVER_PASSED_BACK):
        return False
    return any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in patterns)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The seconds to wait before the next call, from `Retry-After`; None without such a header."""
    with contextlib.suppress(ValueError):
        if "retry-after-ms" in headers:
            return max(float(headers["retry-after-ms"]) / 1000, 0.0)
        if "retry-after" in headers:
            return max(float(headers["retry-after"]), 0.0)
    with contextlib.suppress(ValueError, TypeError):
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max((date - datetime.datetime.now(datetime.UTC)).total_seconds(), 0.0)
    return None


def late(card: Card, fault: str = "late") -> UpstreamError:
    """The error of an upstream that exceeded a time limit."""
    return UpstreamError(f'the upstream of the card "{card.id}" did not respond in time', 504, fault)


def unreachable(card: Card) -> UpstreamError:
    """The error of an upstream with which no connection is possible: its name, port or certificate is wrong."""
    return UpstreamError(f'no connection to the upstream of the card "{card.id}"', 502, "unreachable")


def disconnected(card: Card) -> UpstreamError:
    """The error of an upstream that was reached, and broke the connection."""
    return UpstreamError(
        f'the upstream of the card "{card.id}" closed the connection before the answer was complete', 502, "cut"
    )
