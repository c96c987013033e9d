"""How a call reaches an upstream: relayed in its own protocol, or through litellm, in the dialect of the server."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import msgspec

from router.cards.schema import Card
from router.dispatch.bodies.fitting import Fitting
from router.dispatch.call import Call, fitted
from router.dispatch.configured import unsupported_api
from router.dispatch.converted_response import converted
from router.dispatch.lora.naming import without_adapters
from router.dispatch.providers import dialect_of, native_apis, uses_litellm
from router.dispatch.relay import Relay
from router.dispatch.response import UpstreamResponse
from router.dispatch.stream import Timeouts
from router.errors import UpstreamError
from router.wire import CONVERSIONS
from router.wire.protocols import MESSAGES

if TYPE_CHECKING:
    from router.dispatch.litellm_client import LitellmClient


class Upstreams:
    """Sends calls to the server of a card with one server. Use it on one event loop."""

    def __init__(
        self, timeouts: Timeouts, forward_headers: tuple[str, ...], fetch_hosts: tuple[str, ...], http2: bool = False
    ) -> None:
        self._relay = Relay(timeouts, forward_headers, http2)
        self._fetch_hosts = fetch_hosts
        self._made_litellm: LitellmClient | None = None
        self._fitting = Fitting()

    @property
    def timeouts(self) -> Timeouts:
        """The time limits of new calls."""
        return self._relay.timeouts

    def configure(
        self, timeouts: Timeouts, forward_headers: tuple[str, ...], fetch_hosts: tuple[str, ...], http2: bool = False
    ) -> None:
        """Use these settings for new calls. Running calls keep theirs."""
        self._relay.timeouts, self._relay.forward_headers, self._relay.http2 = timeouts, forward_headers, http2
        self._fetch_hosts = fetch_hosts
        if (client := self._made_litellm) is not None:
            client.timeouts, client.forward_headers, client.fetch_hosts = timeouts, forward_headers, fetch_hosts

    def preload(self) -> None:
        """Load in the background what calls through litellm need."""
        self._litellm.preload()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._relay.aclose()
        if self._made_litellm is not None:
            await self._made_litellm.aclose()

    @property
    def _litellm(self) -> LitellmClient:
        """The client for providers with a protocol of their own; made when it is used, as it needs another library."""
        if self._made_litellm is None:
            from router.dispatch.litellm_client import LitellmClient

            self._made_litellm = LitellmClient(self._relay.timeouts, self._relay.forward_headers, self._fetch_hosts)
        return self._made_litellm

    def counts_tokens(self, card: Card) -> bool:
        """Whether the card's upstream counts the tokens of Anthropic requests."""
        return MESSAGES.api in native_apis(card)

    async def count_tokens(self, card: Card, call: Call) -> UpstreamResponse | None:
        """The token count of an Anthropic request by the card's upstream; None where it does not count tokens."""
        if not self.counts_tokens(card):
            return None
        sent = fitted(call, card, dialect_of(card))
        return await self._relay.send(card, sent, f"{MESSAGES.path}/count_tokens")

    async def send(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt: the upstream's response, whatever its status. Raises UpstreamError where there is none, and
        FieldError where the upstream does not support the body.
        """
        call, left_out = without_adapters(call, card)
        response = await self._send_clean(card, call)
        return msgspec.structs.replace(response, changed=left_out + response.changed) if left_out else response

    async def _send_clean(self, card: Card, call: Call) -> UpstreamResponse:
        if call.raw is not None:
            return await self._relay.forward(card, call, call.raw)
        if problem := unsupported_api(card, call.api):
            raise UpstreamError(f'the card "{card.id}": {problem}', 404, "not_served")
        if call.api == "embeddings":
            return await (self._litellm.embed(card, call) if uses_litellm(card) else self._relay.send(card, call))
        return await self._fitting.send(card, call, functools.partial(self._send_fitted, card, call))

    async def _send_fitted(self, card: Card, call: Call, sent: Call) -> UpstreamResponse:
        """Send the call as it was fitted to the card; the response is in the protocol of `call`, the client's."""
        upstream = self._litellm if sent.api not in native_apis(card) else self._relay
        response = await upstream.send(card, sent)
        if sent.changed:
            response = msgspec.structs.replace(response, changed=sent.changed + response.changed)
        return response if sent.api == call.api else converted(response, CONVERSIONS[call.api], call.body)
