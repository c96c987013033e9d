"""How a call reaches an upstream: relayed in its own protocol, or through litellm, in the dialect of the server."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import msgspec

from router.cards.schema import Card
from router.dispatch.bodies.fitting import REJECTIONS, Fitting, RejectedCall
from router.dispatch.bounds.timeouts import Timeouts
from router.dispatch.call import Call, fitted
from router.dispatch.configured import unsupported_api
from router.dispatch.converted_response import converted
from router.dispatch.facts import server_facts_of
from router.dispatch.lora.naming import without_adapters
from router.dispatch.relay import Relay
from router.dispatch.response import UpstreamResponse
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
        return MESSAGES.api in server_facts_of(card).apis

    async def count_tokens(self, card: Card, call: Call) -> UpstreamResponse | None:
        """The token count of an Anthropic request by the card's upstream; None where it does not count tokens."""
        if not self.counts_tokens(card):
            return None
        sent = fitted(call, card, server_facts_of(card).dialect)
        return await self._relay.send(card, sent, f"{MESSAGES.path}/count_tokens")

    async def send(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt: the upstream's response, whatever its status. Raises UpstreamError where there is none, and
        FieldError where the upstream does not support the body.
        """
        call, left_out = without_adapters(call, card)
        if call.raw is not None:
            response = await self._relay.forward(card, call, call.raw)
        elif problem := unsupported_api(card, call.api):
            raise UpstreamError(f'the card "{card.id}": {problem}', 404, "not_served")
        elif call.api == "embeddings":
            upstream = self._litellm.embed if server_facts_of(card).by_litellm else self._relay.send
            response = await upstream(card, call)
        else:
            dialect = self._fitting.dialect(card)
            sent = fitted(call, card, dialect)
            response = _for_client(await self._send_fitted(card, sent), call, sent)
            if response.status in REJECTIONS:
                rejected = RejectedCall(self._fitting, card, call, sent, dialect)
                response = await self._send_corrected(card, call, rejected, response)
        return msgspec.structs.replace(response, changed=left_out + response.changed) if left_out else response

    def _send_fitted(self, card: Card, sent: Call) -> Awaitable[UpstreamResponse]:
        """Send a call that was fitted to the card; the response is in the same protocol."""
        upstream = self._relay if sent.api in server_facts_of(card).apis else self._litellm
        return upstream.send(card, sent)

    async def _send_corrected(
        self, card: Card, call: Call, rejected: RejectedCall, response: UpstreamResponse
    ) -> UpstreamResponse:
        """The response to the call without what its server rejects, as far as its `response` and further ones show."""
        while (again := rejected.corrected(response)) is not None:
            response = _for_client(await self._send_fitted(card, again), call, again)
        rejected.end(response)
        return response


def _for_client(response: UpstreamResponse, call: Call, sent: Call) -> UpstreamResponse:
    """The response to the call as it was `sent`, in the protocol of `call`, the client's."""
    if sent.changed:
        response = msgspec.structs.replace(response, changed=sent.changed + response.changed)
    return response if sent.api == call.api else converted(response, CONVERSIONS[call.api], call.body)
