"""Calls as servers accept them: what one rejects is left out and sent again, and remembered for later calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from router.cards.schema import Card
from router.dispatch.call import Call, fitted
from router.dispatch.providers import base_url, dialect_of
from router.dispatch.response import UpstreamResponse
from router.errors import FieldError
from router.wire import Dialect
from router.wire.dialect.corrections import is_lasting, learned_dialect, unthinking, without_signed_thinking
from router.wire.dialect.native import corrected, rejects_beta_header

# The statuses with which servers reject a field; llama.cpp's templates have 500.
_REJECTIONS = frozenset({400, 422, 500})
_MAX_CORRECTIONS = 4
_BETA = "anthropic-beta"


class Fitting:
    """Fits calls to the dialects of servers, which their errors show beyond the tables."""

    def __init__(self) -> None:
        # By provider, base URL and model.
        self._learned: dict[tuple[str, str | None, str], Dialect] = {}

    async def send(
        self, card: Card, call: Call, send_fitted: Callable[[Call], Awaitable[UpstreamResponse]]
    ) -> UpstreamResponse:
        """The response of `send_fitted` to the call as it is fitted to the card, corrected where the server rejects a
        part of it.
        """
        server = card.provider, base_url(card), card.model
        known = dialect = learned = self._learned.get(server) or dialect_of(card)
        sent = fitted(call, card, dialect)
        response = await send_fitted(sent)
        # Most servers name one field at a time.
        for _ in range(_MAX_CORRECTIONS):
            if response.status not in _REJECTIONS or not isinstance(response.body, bytes):
                break
            error = response.body.decode("utf-8", "replace")
            if sent.api == "chat" and is_lasting(error):
                learned = learned_dialect(error, sent.body, learned) or learned
            again, dialect = _corrected(card, call, sent, dialect, error)
            if again is None:
                break
            sent = again
            response = await send_fitted(sent)
        # An error may quote a request, so only what the server accepted afterwards shows anything about other requests.
        if response.status < 400 and learned is not known:
            self._learned[server] = learned
        return response


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
