"""What a failure shows about a deployment, and about whom: the request, the key that sent it, or the provider."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from router.errors import UpstreamError
from router.wire.errors import KINDS, Blame, Fault, ReportedError, kind_of_failure


class Evidence(Struct, frozen=True):
    """`health`: see `Meaning`. `blame`: whose failure it is.

    `request`: what the client sent may have caused it, so it counts for requests of the same key alone. `server`: it
    counts for all as soon as two keys meet it. `provider`: it does not depend on the request, so it counts for all at
    once. `pause_s`: for how many seconds the server asks to wait; None where it does not say.
    """

    health: Literal["unchanged", "failure", "cooldown", "pause"]
    blame: Blame = "server"
    pause_s: float | None = None


FAILURE = Evidence("failure")
_UNCHANGED = Evidence("unchanged")
# Failures that show nothing of the deployment: this process has no descriptors left, the card does not serve such
# requests, its adapter was not loaded while other adapters may be.
_OWN = frozenset({"adapter", "local", "not_served"})


def evidence_of(fault: Fault, asked_s: float | None = None) -> Evidence:
    """The evidence of an error that the upstream reported; `asked_s` is what its `Retry-After` says."""
    health = fault.meaning.health
    if health == "unchanged":
        return _UNCHANGED
    pause_s = fault.wait_s if asked_s is None else asked_s
    return Evidence(health, fault.blame, None if health == "failure" else pause_s)


def evidence_of_failure(error: UpstreamError) -> Evidence:
    """The evidence of a failure without an HTTP response."""
    if isinstance(error, ReportedError):
        return evidence_of(error.reported)
    if error.fault in _OWN:
        return _UNCHANGED
    if error.fault == "connect_timeout":
        # The network may have lost a packet.
        return FAILURE
    # A connection is refused before the server sees any of the request.
    kind = kind_of_failure(error)
    return Evidence(KINDS[kind].health, "provider" if kind == "host" else "server")
