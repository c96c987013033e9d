"""What an upstream answered."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
from collections.abc import Mapping

from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.stream import Events
from router.errors import UpstreamError
from router.types import Usage

_SHORTEST_SECRET = 6
_PASSED_BACK = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")


class UpstreamResponse(Struct, frozen=True, eq=False):
    """An upstream's HTTP answer. `headers` holds only what a client may see; keys are in lower case.

    An error's `body` may be empty, where the upstream's own words would tell of the gateway's credentials. `usage` is
    what a whole body tells; a stream tells its own when it is done.
    """

    card: Card
    status: int
    headers: Mapping[str, str]
    body: bytes | Events
    usage: Usage | None = None


def passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of an upstream's headers that a client may see."""
    return {name: headers[name] for name in _PASSED_BACK if name in headers}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the upstream asks to be left alone; None where it does not say."""
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
    """The upstream did not answer, or did not go on, in time."""
    return UpstreamError(f'the upstream of the card "{card.id}" did not answer in time', 504, "late")


def unreachable(card: Card) -> UpstreamError:
    """The upstream cannot be reached, or hung up."""
    return UpstreamError(f'the upstream of the card "{card.id}" cannot be reached, or hung up', 502, "unreachable")


def redacted(words: bytes, key: str | None, url: str | None) -> bytes:
    """`words` without the key, the URL and its host."""
    host = url.partition("://")[2].partition("/")[0] if url else ""
    for secret in (key, url, host):
        # What is shorter is no secret, and stands in many words.
        if secret and len(secret) >= _SHORTEST_SECRET:
            words = words.replace(secret.encode(), b"[hidden]")
    return words
