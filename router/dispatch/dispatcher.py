"""Calls the cards of a plan, one after the other, until one answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.call import Call
from router.dispatch.converted_response import converted
from router.dispatch.deployments import Deployment, DeploymentPool, Queue, deployments_of
from router.dispatch.health import Cooldown
from router.dispatch.litellm_client import LitellmClient
from router.dispatch.providers import (
    base_url,
    dialect_of,
    missing_credentials,
    native_apis,
    unknown_provider,
    uses_litellm,
)
from router.dispatch.relay import Relay, is_url
from router.dispatch.response import UpstreamResponse, retry_after_s
from router.dispatch.stream import Timeouts
from router.errors import UpstreamError
from router.types import Api, Attempt
from router.wire import CONVERSIONS, without_unsigned_thinking
from router.wire.protocols import MESSAGES

_LOG = logging.getLogger(__name__)

# What the next card would refuse as well. Every other error says something about this upstream.
_FAULT_OF_THE_REQUEST = frozenset({400, 413, 422})
# Another model may have room for what this one has not.
_TOO_LONG = b"context_length_exceeded"
# The connection was at fault, perhaps by chance: worth another try at the same place.
_BROKEN = frozenset({"unreachable", "cut", "empty"})


class DispatchSettings(Struct, frozen=True):
    """How calls are made. `retries`: how often a call whose connection broke is made again at the same place."""

    timeouts: Timeouts = Timeouts()
    cooldown: Cooldown = Cooldown()
    queue: Queue = Queue()
    retries: int = 1


def missing_configuration(card: Card) -> str | None:
    """What the configuration lacks for calling `card`, or None where any of its deployments can be called."""
    reasons = [_why_uncallable(deployment.card) for deployment in deployments_of(card)]
    return None if None in reasons else reasons[0]


def unsupported_api(card: Card, api: Api) -> str | None:
    """Why `card` cannot answer requests of `api`, or None where it can: as it is, or by conversion."""
    spoken = native_apis(card)
    if api in spoken or uses_litellm(card) or ("chat" in spoken and api != "embeddings"):
        return None
    return f"its upstream speaks {', '.join(sorted(spoken))}, and {api} cannot be converted to that"


class Dispatcher:
    """Relays to upstreams that speak the client's protocol, has the others translated, and knows how each does.

    Made and used on one event loop.
    """

    def __init__(self, dispatching: DispatchSettings = DispatchSettings()) -> None:  # noqa: B008 - frozen
        self.fleet = DeploymentPool(dispatching.cooldown, dispatching.queue)
        self._relay, self._translator = Relay(dispatching.timeouts), LitellmClient(dispatching.timeouts)
        self._retries = dispatching.retries

    def configure(self, dispatching: DispatchSettings) -> None:
        """Make calls like this from now on. Those that run go on as they began."""
        self.fleet.cooldown, self.fleet.queue = dispatching.cooldown, dispatching.queue
        self._relay.timeouts = self._translator.timeouts = dispatching.timeouts
        self._retries = dispatching.retries

    async def send(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt at the card's first deployment: the upstream's answer, whatever its status.

        A stream has begun when this returns; close it. Raises UpstreamError where no HTTP answer came, or a stream
        broke off before it showed anything.
        """
        return await self._send(self.fleet.deployments_of(card)[0].card, call)

    async def count_tokens(self, card: Card, call: Call) -> UpstreamResponse | None:
        """What the card's upstream counts for an Anthropic request; None where it does not count."""
        deployment = self.fleet.deployments_of(card)[0].card
        if MESSAGES.api not in native_apis(deployment):
            return None
        return await self._relay.send(deployment, call, f"{MESSAGES.path}/count_tokens")

    async def send_first_healthy(
        self,
        cards: Sequence[Card],
        call: Call,
        attempts: list[Attempt] | None = None,
        announce: Callable[[], Mapping[str, str]] | None = None,
    ) -> UpstreamResponse:
        """The first answer that is a success or faults the request itself. Each card gets the same request.

        Every call is added to `attempts`; `announce` is told of each before, and gives headers for it. Where there is
        no such answer, the last HTTP answer. Raises UpstreamError where no card gave any, and BusyError where none
        could be called.
        """
        if not cards:
            raise ValueError("no card to call")
        attempts = [] if attempts is None else attempts
        refusal: UpstreamResponse | None = None
        failure: UpstreamError | None = None
        tried: set[str] = set()
        while deployment := await self.fleet.next(cards, tried):
            tried.add(deployment.name)
            try:
                answer = await self._attempt(deployment, call, attempts, announce)
            except UpstreamError as error:
                failure = error
                _LOG.warning("%s", error)
                continue
            if answer.status < 400 or _faults_the_request(answer):
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

    async def _attempt(
        self,
        deployment: Deployment,
        call: Call,
        attempts: list[Attempt],
        announce: Callable[[], Mapping[str, str]] | None,
    ) -> UpstreamResponse:
        for left in range(self._retries, -1, -1):
            marked = call
            if announce is not None:
                marked = msgspec.structs.replace(call, headers={**call.headers, **announce()})
            try:
                return await self._attempt_once(deployment, marked, attempts)
            except UpstreamError as error:
                if not left or error.fault not in _BROKEN:
                    raise
                call = msgspec.structs.replace(call, again=True)
        raise AssertionError("a call was neither answered nor refused")

    async def _attempt_once(self, deployment: Deployment, call: Call, attempts: list[Attempt]) -> UpstreamResponse:
        started_s = time.monotonic()

        def note(status: int | None, fault: str | None = None) -> None:
            elapsed_ms = round((time.monotonic() - started_s) * 1000, 3)
            attempts.append(Attempt(deployment.card.id, deployment.name, status, elapsed_ms, fault))

        self.fleet.begin(deployment)
        streaming = False
        try:
            answer = await self._send(deployment.card, call)
            if answer.status >= 400 and not _faults_the_request(answer):
                note(answer.status, f"http_{answer.status}")
                pause_s = retry_after_s(answer.headers) if answer.status in (429, 503) else None
                self.fleet.failed(deployment, pause_s)
                return answer
            note(answer.status)
            if isinstance(answer.body, bytes):
                self.fleet.well(deployment, 0 if answer.usage is None else answer.usage.total_tokens)
            else:
                self._follow(deployment, answer)
                streaming = True
            return answer
        except UpstreamError as error:
            note(None, error.fault)
            self.fleet.failed(deployment)
            raise
        finally:
            if not streaming:
                self.fleet.end(deployment)

    def _follow(self, deployment: Deployment, answer: UpstreamResponse) -> None:
        stream = answer.body
        assert not isinstance(stream, bytes)

        def over() -> None:
            if stream.failed:
                self.fleet.failed(deployment)
            elif stream.complete:
                self.fleet.well(deployment, 0 if stream.usage is None else stream.usage.total_tokens)
            self.fleet.end(deployment)

        stream.on_close(over)

    async def _send(self, card: Card, call: Call) -> UpstreamResponse:
        if call.api in native_apis(card):
            return await self._relay.send(card, _as_understood(card, call))
        if problem := unsupported_api(card, call.api):
            raise UpstreamError(f'the card "{card.id}": {problem}', 404, "not_served")
        if call.api == "embeddings":
            return await self._translator.embed(card, call)
        upstream = self._translator if uses_litellm(card) else self._relay
        if call.api == "chat":
            return await upstream.send(card, call)
        conversion = CONVERSIONS[call.api]
        chat = msgspec.structs.replace(call, api="chat", body=conversion.to_chat(call.body, dialect_of(card)))
        return converted(await upstream.send(card, chat), conversion, call.body)


def _as_understood(card: Card, call: Call) -> Call:
    if call.api != "messages" or card.provider != "anthropic":
        return call
    return msgspec.structs.replace(call, body=without_unsigned_thinking(call.body))


def _why_uncallable(card: Card) -> str | None:
    if not uses_litellm(card):
        if base_url(card) is None:
            return "its card states no base_url"
        if not is_url(card):
            return "its base_url is not a URL"
    return unknown_provider(card) or missing_credentials(card)


def _faults_the_request(answer: UpstreamResponse) -> bool:
    if answer.status not in _FAULT_OF_THE_REQUEST:
        return False
    return not (isinstance(answer.body, bytes) and _TOO_LONG in answer.body)
