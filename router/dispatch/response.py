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
from router.types import Usage

_MIN_SECRET_CHARACTERS = 6
_PASSED_BACK = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")


class UpstreamResponse(Struct, frozen=True, eq=False):
    """An upstream's HTTP response. `headers` contains only those that a client may see; names are in lower case.

    An error's `body` is empty where the upstream's message might reveal the gateway's credentials. `usage` is that of a
    whole body; a stream has its own `usage`. `decoded` is the decoded body where the call set `decode`.
    """

    card: Card
    status: int
    headers: Mapping[str, str]
    body: bytes | Events
    usage: Usage | None = None
    decoded: Any = None


def passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    """The upstream's headers that a client may see."""
    return {name: headers[name] for name in _PASSED_BACK if name in headers}


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


def late(card: Card) -> UpstreamError:
    """The error of an upstream that exceeded a time limit."""
    return UpstreamError(f'the upstream of the card "{card.id}" did not respond in time', 504, "late")


def unreachable(card: Card) -> UpstreamError:
    """The error of an upstream that cannot be reached, or closed the connection."""
    return UpstreamError(
        f'the upstream of the card "{card.id}" cannot be reached, or closed the connection', 502, "unreachable"
    )


def redacted(text: bytes, key: str | None, url: str | None) -> bytes:
    """`text` without the key, the URL and its host."""
    host = url.partition("://")[2].partition("/")[0] if url else ""
    for secret in (key, url, host):
        # Shorter strings are not secret, and occur in ordinary words.
        if secret and len(secret) >= _MIN_SECRET_CHARACTERS:
            text = text.replace(secret.encode(), b"[hidden]")
    return text
