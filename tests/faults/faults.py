"""The faults of the wall: what the upstream does, and what a client may see of it when no other candidate is left.

With a healthy candidate left, a client sees its complete answer, unless the fault came after content was shown.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tests.faults.upstream import RETRY_AFTER_S

Protocol = Literal["chat", "messages"]


class Complete(Struct, frozen=True):
    """The whole answer, and its end. `by_itself`: from this upstream, since nothing is wrong with it."""

    def __str__(self) -> str:
        return "complete"


class Cut(Struct, frozen=True):
    """The content up to the fault, then an error in the stream, and no end as if all were well."""

    def __str__(self) -> str:
        return "error in the stream"


class Refused(Struct, frozen=True):
    """An error of one of `statuses` in the client's own shape; `retry_after` is the header that comes with it."""

    statuses: tuple[int, ...]
    retry_after: str | None = None

    def __str__(self) -> str:
        return "/".join(map(str, self.statuses))


Outcome = Complete | Cut | Refused

COMPLETE, CUT = Complete(), Cut()
BAD_GATEWAY, TOO_LATE = Refused((502,)), Refused((504,))
# An upstream that says in its stream that it failed may tell the status as well.
_ITS_OWN = Refused((500, 502, 503))


class Fault(Struct, frozen=True):
    """What an upstream does when `name` is the model asked for, and what comes of it alone: whole and as a stream.

    `upstreams` are the protocols in which it can do so. `harmless`: nothing is wrong, so no other candidate is called.
    """

    name: str
    whole: Outcome
    stream: Outcome
    upstreams: tuple[Protocol, ...] = ("chat", "messages")

    @property
    def harmless(self) -> bool:
        """Whether nothing is wrong with what the upstream does."""
        return self.whole == self.stream == COMPLETE


REFUSES = "refuses-connection"
"""The one fault that takes no server."""

FAULTS = (
    Fault("ok", COMPLETE, COMPLETE),
    Fault("rate-limited", Refused((429,), RETRY_AFTER_S), Refused((429,), RETRY_AFTER_S)),
    Fault("server-error", Refused((500,)), Refused((500,))),
    Fault("bad-gateway-page", BAD_GATEWAY, BAD_GATEWAY),
    # The watch may have seen before the call that nobody listens.
    Fault(REFUSES, Refused((502, 503)), Refused((502, 503))),
    Fault("hangs-before-headers", TOO_LATE, TOO_LATE),
    Fault("hangs-before-content", TOO_LATE, TOO_LATE),
    Fault("hangs-after-role", TOO_LATE, TOO_LATE),
    Fault("hangs-mid-stream", TOO_LATE, CUT),
    Fault("cuts-before-headers", BAD_GATEWAY, BAD_GATEWAY),
    Fault("cuts-after-headers", BAD_GATEWAY, BAD_GATEWAY),
    Fault("cuts-after-role", BAD_GATEWAY, BAD_GATEWAY),
    Fault("cuts-mid-stream", BAD_GATEWAY, CUT),
    Fault("resets-mid-stream", BAD_GATEWAY, CUT),
    Fault("cuts-mid-event", BAD_GATEWAY, CUT),
    Fault("cuts-mid-chunk", BAD_GATEWAY, CUT),
    # aiohttp sees no end of a body after a chunk whose size is no number; the limit of time ends it.
    Fault("breaks-framing", Refused((502, 504)), CUT),
    Fault("cuts-mid-body", BAD_GATEWAY, CUT),
    Fault("error-after-role", _ITS_OWN, _ITS_OWN),
    Fault("error-mid-stream", BAD_GATEWAY, CUT),
    Fault("error-in-200", _ITS_OWN, _ITS_OWN),
    Fault("empty-events", COMPLETE, COMPLETE),
    Fault("no-choices", BAD_GATEWAY, BAD_GATEWAY, ("chat",)),
    Fault("empty-body", BAD_GATEWAY, BAD_GATEWAY),
    Fault("garbage-json", BAD_GATEWAY, BAD_GATEWAY),
    Fault("wrong-content-type", BAD_GATEWAY, BAD_GATEWAY),
    Fault("slow-drip", COMPLETE, COMPLETE),
    Fault("huge-body", BAD_GATEWAY, BAD_GATEWAY),
    Fault("closes-after-each", COMPLETE, COMPLETE),
    Fault("drops-reused", COMPLETE, COMPLETE),
)
