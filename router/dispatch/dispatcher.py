"""Calls the cards of a plan, one after the other, until one answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from router.cards.schema import Card
from router.dispatch.answer import Answer, Timeouts
from router.dispatch.providers import base_url, is_relayed, missing_credentials, unknown_provider
from router.dispatch.relay import Relay, models_url
from router.dispatch.translate import Translator
from router.errors import UpstreamError

_LOG = logging.getLogger(__name__)

# What the next card would refuse as well. Every other error says something about this upstream.
_FAULT_OF_THE_REQUEST = frozenset({400, 413, 422})
_NO_HEADERS: Mapping[str, str] = {}


def why_uncallable(card: Card) -> str | None:
    """What the configuration lacks for calling `card`, or None where it can be called."""
    if is_relayed(card) and base_url(card) is None:
        return "its card states no base_url"
    if is_relayed(card) and models_url(card) is None:
        return "its base_url is not a URL"
    return unknown_provider(card) or missing_credentials(card)


class Dispatcher:
    """Relays to OpenAI-compatible upstreams, and has the others translated.

    One attempt a card: clients retry by themselves.
    """

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        timeouts = timeouts or Timeouts()
        self._relay, self._translator = Relay(timeouts), Translator(timeouts)

    async def send(
        self,
        card: Card,
        body: Mapping[str, Any],
        *,
        stream: bool = False,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Answer:
        """The upstream's answer, whatever its status.

        `headers` are the client's, in lower case; those that concern the model are forwarded. A stream has
        begun when this returns; close it. Raises UpstreamError where no HTTP answer came.
        """
        upstream = self._relay if is_relayed(card) else self._translator
        return await upstream.send(card, body, stream, headers)

    async def send_first_healthy(
        self,
        cards: Sequence[Card],
        body: Mapping[str, Any],
        *,
        stream: bool = False,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Answer:
        """The first answer that is a success or faults the request itself. Each card gets the same request.

        Where there is none, the last HTTP answer. Raises UpstreamError where no card gave any.
        """
        if not cards:
            raise ValueError("no card to call")
        refusal: Answer | None = None
        failure: UpstreamError | None = None
        for card in cards:
            try:
                answer = await self.send(card, body, stream=stream, headers=headers)
            except UpstreamError as error:
                failure = error
                _LOG.warning("%s", error)
                continue
            if answer.status < 400 or answer.status in _FAULT_OF_THE_REQUEST:
                return answer
            refusal = answer
        if refusal is not None:
            return refusal
        assert failure is not None
        raise failure

    async def aclose(self) -> None:
        """Close every connection."""
        await self._relay.aclose()
        await self._translator.aclose()
