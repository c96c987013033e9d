"""The faults of the fault matrix: what the upstream does, and what a client may see of it without a fallback.

With a healthy fallback, a client gets the complete response of the fallback, unless the fault comes after content was
sent.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tests.faults.answers import ANSWERS
from tests.faults.upstream import RETRY_AFTER_S

Protocol = Literal["chat", "messages"]


class Complete(Struct, frozen=True):
    """The complete response, with its end."""

    def __str__(self) -> str:
        return "complete"


class Cut(Struct, frozen=True):
    """The content up to the fault, then an error in the stream, and no regular end."""

    def __str__(self) -> str:
        return "error in the stream"


class Failure(Struct, frozen=True):
    """An error with one of `statuses` in the format of the client's protocol; `retry_after` is its header."""

    statuses: tuple[int, ...]
    retry_after: str | None = None

    def __str__(self) -> str:
        return "/".join(map(str, self.statuses))


Outcome = Complete | Cut | Failure

COMPLETE, CUT = Complete(), Cut()
BAD_GATEWAY, GATEWAY_TIMEOUT = Failure((502,)), Failure((504,))
# An upstream that reports a failure in its stream may report the status too.
_REPORTED_STATUS = Failure((500, 502, 503))


class Fault(Struct, frozen=True):
    """The behaviour of an upstream for the model `name`, and its outcome without a fallback, whole and as a stream.

    `upstreams` are the protocols that can have this fault. `harmless`: no fault, so no fallback is called.
    """

    name: str
    whole: Outcome
    stream: Outcome
    upstreams: tuple[Protocol, ...] = ("chat", "messages")

    @property
    def harmless(self) -> bool:
        """Whether the behaviour is no fault."""
        return self.whole == self.stream == COMPLETE


REFUSED_CONNECTION = "refuses-connection"
"""The only fault without a server."""


def _answered(name: str, status: int) -> Fault:
    """An error answer. A refused key is the gateway's fault, so clients get 502."""
    refused = name.startswith(("bad-key", "no-credit"))
    outcome = BAD_GATEWAY if refused else Failure((status,))
    # Each of Anthropic's servers has one format.
    return Fault(name, outcome, outcome, ("chat", "messages") if "type" in ANSWERS[name][1] else ("chat",))


FAULTS = (
    Fault("ok", COMPLETE, COMPLETE),
    Fault("rate-limited", Failure((429,), RETRY_AFTER_S), Failure((429,), RETRY_AFTER_S)),
    Fault("server-error", Failure((500,)), Failure((500,))),
    Fault("bad-gateway-page", BAD_GATEWAY, BAD_GATEWAY),
    # The availability monitor may have found before the call that no server listens.
    Fault(REFUSED_CONNECTION, Failure((502, 503)), Failure((502, 503))),
    Fault("hangs-before-headers", GATEWAY_TIMEOUT, GATEWAY_TIMEOUT),
    Fault("hangs-before-content", GATEWAY_TIMEOUT, GATEWAY_TIMEOUT),
    Fault("hangs-after-role", GATEWAY_TIMEOUT, GATEWAY_TIMEOUT),
    Fault("hangs-mid-stream", GATEWAY_TIMEOUT, CUT),
    Fault("cuts-before-headers", BAD_GATEWAY, BAD_GATEWAY),
    Fault("cuts-after-headers", BAD_GATEWAY, BAD_GATEWAY),
    Fault("cuts-after-role", BAD_GATEWAY, BAD_GATEWAY),
    Fault("cuts-mid-stream", BAD_GATEWAY, CUT),
    Fault("resets-mid-stream", BAD_GATEWAY, CUT),
    Fault("cuts-mid-event", BAD_GATEWAY, CUT),
    Fault("cuts-mid-chunk", BAD_GATEWAY, CUT),
    Fault("breaks-framing", BAD_GATEWAY, CUT),
    Fault("cuts-mid-body", BAD_GATEWAY, CUT),
    Fault("error-after-role", _REPORTED_STATUS, _REPORTED_STATUS),
    Fault("error-mid-stream", BAD_GATEWAY, CUT),
    Fault("error-in-200", _REPORTED_STATUS, _REPORTED_STATUS),
    Fault("empty-events", COMPLETE, COMPLETE),
    Fault("no-choices", BAD_GATEWAY, BAD_GATEWAY, ("chat",)),
    Fault("empty-body", BAD_GATEWAY, BAD_GATEWAY),
    Fault("garbage-json", BAD_GATEWAY, BAD_GATEWAY),
    Fault("wrong-content-type", BAD_GATEWAY, BAD_GATEWAY),
    Fault("slow-drip", COMPLETE, COMPLETE),
    Fault("huge-body", BAD_GATEWAY, BAD_GATEWAY),
    Fault("closes-after-each", COMPLETE, COMPLETE),
    Fault("drops-reused", COMPLETE, COMPLETE),
    *(_answered(name, status) for name, (status, _) in ANSWERS.items()),
    Fault("swaps-stream-and-whole", COMPLETE, COMPLETE),
    Fault("plain-text-events", COMPLETE, COMPLETE),
    Fault("mixed-line-ends", COMPLETE, COMPLETE),
    Fault("compresses", COMPLETE, COMPLETE),
    Fault("unknown-coding", BAD_GATEWAY, BAD_GATEWAY),
    Fault("unfinished-choice", BAD_GATEWAY, CUT, ("chat",)),
    Fault("empty-finish-reasons", BAD_GATEWAY, CUT, ("chat",)),
    Fault("gives-up", BAD_GATEWAY, CUT, ("chat",)),
)
