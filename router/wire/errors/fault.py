"""Classify the error of an upstream: by its HTTP status first, then by its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.errors import UpstreamError
from router.wire.errors.blame import Blame, blame_of, exceeds_limit_alone
from router.wire.errors.details import ErrorDetails, error_in, error_of_event, words_in
from router.wire.errors.kinds import KINDS, Kind, Meaning
from router.wire.errors.words import NO_STATUS, WORDS, limit_tokens, wait_s

# The kind of an error that has no known words; any other status is a failure of the server.
_BY_STATUS: Mapping[int, Kind] = {
    400: "unknown",
    401: "key",
    402: "credit",
    403: "permission",
    404: "model_not_found",
    405: "model_not_found",
    410: "model_not_found",
    413: "unknown",
    422: "unknown",
    429: "rate",
    498: "overloaded",
    503: "overloaded",
    529: "overloaded",
}
# Failures of a connection, by the word for them in `UpstreamError.fault`.
_BY_FAILURE: Mapping[str, Kind] = {"unreachable": "host", "connect_timeout": "host"}


class Fault(Struct, frozen=True):
    """What an upstream's error means. `status` is the HTTP status of the response or, without one, what stands for it.

    `name` is one word for records: the kind where words state it, else such as `http_500`. `limit_tokens` is the
    server's context, `wait_s` the time in seconds for which it asks to wait; each is None where the error states none.
    `blame`: whose failure it is, see `router.wire.errors.blame`.
    """

    kind: Kind
    status: int
    name: str
    details: ErrorDetails = ErrorDetails()
    limit_tokens: int | None = None
    wait_s: float | None = None
    blame: Blame = "server"

    @property
    def meaning(self) -> Meaning:
        """What the kind means for a router."""
        return KINDS[self.kind]

    @property
    def client_status(self) -> int:
        """The HTTP status for the client. 401 and 403 would concern its own key, and 5xx a server, where it is the
        request that is at fault.
        """
        meaning = self.meaning
        misleads = self.status in (401, 403) or (meaning.health == "unchanged" and self.status >= 500)
        return meaning.status if misleads or meaning.refusal else self.status


class ReportedError(UpstreamError):
    """The upstream reported an error, `reported`, in a stream. `status` is that for the client."""

    def __init__(self, message: str, reported: Fault) -> None:
        self.reported = reported
        super().__init__(message, reported.client_status, reported.name)


def fault_of(status: int | None, body: Any) -> Fault:
    """Classify an error. `status` is the HTTP status, None in a stream or where it is a success; `body` is decoded
    JSON, or the text where it is no JSON.
    """
    # Ignoring case in the patterns would take several times as long.
    details, text = error_in(body), words_in(body).lower()
    stated = status or details.status
    kind = _kind_by_words(text, status or NO_STATUS)
    if kind is None and status is None and details.status is not None:
        kind = _kind_by_words(text, details.status)
    if kind == "rate" and exceeds_limit_alone(text):
        kind = "request_rate"
    # Words that state no more than the status are none.
    by_words = None if kind == "unknown" else kind
    kind = kind or _BY_STATUS.get(stated or 502, "server")
    name = by_words or (f"http_{status}" if status else "error_event")
    return Fault(
        kind,
        stated or KINDS[kind].status,
        name,
        details,
        limit_tokens(text) if kind == "context" else None,
        wait_s(text) if KINDS[kind].health in ("pause", "cooldown") else None,
        blame_of(kind, status, body, text),
    )


def fault_in_event(event: Mapping[str, Any], *, at_start: bool) -> Fault | None:
    """Classify the error in a decoded stream event; None where it reports none. `at_start`: see `error_of_event`."""
    error = error_of_event(event, at_start=at_start)
    return fault_of(None, error) if error else None


def kind_of_failure(error: UpstreamError) -> Kind:
    """The kind of a failure without an HTTP response."""
    return error.reported.kind if isinstance(error, ReportedError) else _BY_FAILURE.get(error.fault, "server")


def _kind_by_words(text: str, status: int) -> Kind | None:
    if not text:
        return None
    return next((row.kind for row in WORDS if status in row.statuses and row.pattern.search(text)), None)
