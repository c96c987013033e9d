"""Calls as servers accept them: what one rejects is left out and sent again, and remembered for later calls."""

from __future__ import annotations

import msgspec

from router.cards.schema import Card
from router.dispatch.call import Call, fitted
from router.dispatch.facts import server_facts_of
from router.dispatch.response import UpstreamResponse
from router.errors import FieldError
from router.wire import Dialect
from router.wire.dialect.corrections import is_lasting, learned_dialect, unthinking, without_signed_thinking
from router.wire.dialect.native import corrected, rejects_beta_header

# The statuses with which servers reject a field; llama.cpp's templates have 500.
REJECTIONS = frozenset({400, 422, 500})
# Most servers name one field at a time.
_MAX_CORRECTIONS = 4
_BETA = "anthropic-beta"


ModelAt = tuple[str, str | None, str]
"""The provider, the base URL and the model: what one server may accept of one model only."""


class Fitting:
    """Fits calls to the dialects of servers, which their errors show beyond the tables."""

    def __init__(self) -> None:
        self._learned: dict[ModelAt, Dialect] = {}

    def dialect(self, card: Card) -> Dialect:
        """The dialect of the card's server, as it is known now."""
        learned = self._learned.get(model_at(card)) if self._learned else None
        return learned or server_facts_of(card).dialect

    def learn(self, card: Card, dialect: Dialect) -> None:
        """Fit later calls to this dialect."""
        self._learned[model_at(card)] = dialect


class RejectedCall:
    """A call that its server has rejected as it was `sent`, and how it is corrected, in this dialect: other calls may
    have shown more of the server meanwhile.
    """

    def __init__(self, fitting: Fitting, card: Card, call: Call, sent: Call, dialect: Dialect) -> None:
        self._fitting, self._card, self._call, self._sent = fitting, card, call, sent
        self._known = self._dialect = self._learned = dialect
        self._left = _MAX_CORRECTIONS

    def corrected(self, response: UpstreamResponse) -> Call | None:
        """The call as the server accepts it; None where its response does not show that, or is none of that kind."""
        if response.status not in REJECTIONS or not isinstance(response.body, bytes) or not self._left:
            return None
        self._left -= 1
        error = response.body.decode("utf-8", "replace")
        sent = self._sent
        if sent.api == "chat" and is_lasting(error):
            self._learned = learned_dialect(error, sent.body, self._learned) or self._learned
        again, self._dialect = _corrected(self._card, self._call, sent, self._dialect, error)
        self._sent = again or sent
        return again

    def end(self, response: UpstreamResponse) -> None:
        """Take in the last response. An error may quote a request, so only what the server accepted afterwards shows
        anything about other requests.
        """
        if response.status < 400 and self._learned is not self._known:
            self._fitting.learn(self._card, self._learned)


def model_at(card: Card) -> ModelAt:
    """The card's model at its server."""
    return card.provider, server_facts_of(card).base_url, card.model


def _corrected(card: Card, call: Call, sent: Call, dialect: Dialect, error: str) -> tuple[Call | None, Dialect]:
    """The call as the server accepts it, where its error shows that, and the server's dialect as it is known now."""
    if _BETA in sent.headers and rejects_beta_header(error):
        headers = {name: value for name, value in sent.headers.items() if name != _BETA}
        return msgspec.structs.replace(sent, headers=headers, changed=(*sent.changed, _BETA)), dialect
    if sent.api != "chat":
        correction = corrected(sent.api, error, sent.body)
        if correction is None:
            return None, dialect
        names = (*sent.changed, *correction.changed)
        return msgspec.structs.replace(sent, body=correction.body, changed=names), dialect
    shown = (
        learned_dialect(error, sent.body, dialect)
        or without_signed_thinking(error, dialect)
        or unthinking(error, dialect)
    )
    if shown is None:
        return None, dialect
    try:
        again = fitted(call, card, shown)
    except FieldError:
        # The answer would be another without the field.
        return None, shown
    return (None if again.body == sent.body else again), shown
