"""The kinds of upstream errors, and what each means for the request, for other deployments and for the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Kind = Literal[
    "invalid_request",
    "unknown",
    "content_filter",
    "context",
    "unsupported",
    "template",
    "request_rate",
    "rate",
    "quota",
    "overloaded",
    "server",
    "model_not_found",
    "permission",
    "credit",
    "key",
    "host",
]


class Meaning(Struct, frozen=True):
    """What a kind of error means.

    `then`: what the request does. It ends; goes to one more card, since the request may be at fault; goes to the next
    card; or goes to a card with more context.
    `shared_by`: which other deployments would probably fail alike, and are tried last: those of the same `model`, those
    with the same `key` at the same host, or all of the `host`.
    `health`: whether the deployment's health is unchanged, counts a failure, cools down at once, or pauses for as long
    as the server asks (else as after a failure). For whose requests depends on whom the error blames.
    `status` is that of the response where the upstream states none.
    `refusal`: the gateway's configuration or account is at fault; clients get these words and `status`, never the
    upstream's. Empty for other kinds.
    `rank`: where all cards fail, the client gets the error of the lowest rank: of several the first where the request
    may be at fault (rank 0), else the last.
    """

    then: Literal["end", "one_more", "next", "roomier"]
    shared_by: Literal["none", "model", "key", "host"]
    health: Literal["unchanged", "failure", "cooldown", "pause"]
    status: int
    rank: int
    refusal: str = ""


KINDS: Mapping[Kind, Meaning] = {
    # Of the request, at any card.
    "invalid_request": Meaning("end", "none", "unchanged", 400, 0),
    # Of the request or of the card: the text does not say.
    "unknown": Meaning("one_more", "model", "unchanged", 400, 0),
    "content_filter": Meaning("one_more", "model", "unchanged", 400, 0),
    # Of this request at this card.
    "context": Meaning("roomier", "model", "unchanged", 400, 2),
    "unsupported": Meaning("next", "model", "unchanged", 400, 3),
    "template": Meaning("next", "model", "unchanged", 400, 3),
    "request_rate": Meaning("next", "model", "unchanged", 429, 2),
    # Of this deployment.
    "rate": Meaning("next", "none", "pause", 429, 1),
    "quota": Meaning("next", "none", "cooldown", 429, 1),
    "overloaded": Meaning("next", "none", "pause", 503, 1),
    "server": Meaning("next", "none", "failure", 502, 1),
    "model_not_found": Meaning("next", "none", "failure", 404, 4),
    # Of the gateway's configuration or account.
    "permission": Meaning("next", "none", "failure", 502, 5, "does not permit this to the gateway's account"),
    "credit": Meaning("next", "key", "cooldown", 502, 5, "has no credit left for the gateway's account"),
    "key": Meaning("next", "key", "cooldown", 502, 5, "rejects the gateway's API key"),
    # No connection: a name that does not resolve, a refused connection, a certificate.
    "host": Meaning("next", "host", "cooldown", 502, 6),
}
