"""Whose failure an error is: the request's, the server's or the provider's. An error may quote what a client sent, so
words that could be the client's own never blame the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from router.formats.text import late_pattern
from router.wire.errors.kinds import Kind

Blame = Literal["request", "server", "provider"]

_STATUSES_OF_ACCOUNTS = frozenset({401, 402})
_TOO_MANY_REQUESTS = 429
# The credit does not suffice for as many tokens as this request may use: OpenRouter.
_OF_THIS_REQUEST = late_pattern(r"fewer max_tokens|can only afford|requires more credits")
# Values of `type` and `code`, which servers choose from a list.
_ACCOUNT_CODES = late_pattern(
    r"(?:invalid|expired|revoked|missing|disabled)_?(?:api_?)?key|api_?key_?(?:invalid|expired|revoked)"
    r"|authentication_?error|unauthenticated|account_(?:deactivated|suspended)|consumer_suspended"
    r"|unrecognizedclient|invalidsignature|expiredtoken"
    r"|insufficient_(?:user_)?(?:quota|balance|credits?|funds)|exceeded_current_quota|billing_|arrearage"
)
_OF_ALL_REQUESTS = late_pattern(
    r"(?:requests?|calls?) ?(?:per|/|a) ?(?:second|minute|min|hour|day|month)|\b(?:rpm|rpd|rps|qps|qpm)\b"
    r"|account[ -]?wide|\b(?:account|organi[sz]ation|project|workspace|team|subscription)\b"
)
# How many tokens are left depends on what others use, but whether they suffice depends on the request.
_OF_TOKENS = late_pattern(r"tokens?\b|\bt(?:pm|pd)\b|too large")
_ASKED_OF_LIMIT = late_pattern(r"limit:? (?P<limit>\d[\d,]*)\b.{0,60}requested:? (?P<asked>\d[\d,]*)")


def blame_of(kind: Kind, status: int | None, body: Any, text: str) -> Blame:
    """Whose failure an error of this kind is. `status` is the HTTP status, None in a stream; `body` is as in
    `fault_of`, and `text` has its words in lower case.
    """
    match kind:
        case "model_not_found" | "permission":
            return "request"
        case "key" | "credit":
            if _OF_THIS_REQUEST.search(text):
                return "request"
            by_status = status in _STATUSES_OF_ACCOUNTS or (kind == "credit" and status == _TOO_MANY_REQUESTS)
            return "provider" if by_status or _names_account(body, status) else "server"
        case "rate" | "quota" if status == _TOO_MANY_REQUESTS:
            is_of_all = _OF_ALL_REQUESTS.search(text) and not _OF_TOKENS.search(text)
            return "provider" if is_of_all else "server"
        case _:
            return "server"


def exceeds_limit_alone(text: str) -> bool:
    """Whether the error states that one request asks for more than the whole limit."""
    found = _ASKED_OF_LIMIT.search(text)
    return found is not None and _number(found["asked"]) > _number(found["limit"])


def _names_account(body: Any, status: int | None) -> bool:
    """Whether the server itself, not a text that it quotes, states a code of refused accounts."""
    if status is None or not isinstance(body, Mapping):
        return False
    error = body.get("error")
    stated = [part.get(name) for part in (body, error) if isinstance(part, Mapping) for name in _CODE_FIELDS]
    return any(isinstance(code, str) and _ACCOUNT_CODES.search(code.lower()) for code in stated)


_CODE_FIELDS = ("type", "code", "__type")


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))
