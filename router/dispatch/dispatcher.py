"""Call cards in order until one responds."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.bodies.redaction import one_line
from router.dispatch.bounds.retry_budget import Paid, RetryBudget, RetryLimits
from router.dispatch.bounds.timeouts import FAIR_SHARE, Timeouts
from router.dispatch.call import Call
from router.dispatch.costs import booked_usage
from router.dispatch.facts import server_facts_of
from router.dispatch.failover import Failover
from router.dispatch.failover.restarts import MOST_ROUNDS, Restarts
from router.dispatch.health import Cooldown, evidence_of, evidence_of_failure
from router.dispatch.lora.claims import Claim
from router.dispatch.lora.control import AdapterControl
from router.dispatch.lora.naming import is_lost
from router.dispatch.pool.deployment import Deployment, Slot, deployments_of
from router.dispatch.pool.pool import DeploymentPool
from router.dispatch.pool.queue import QueueLimits
from router.dispatch.providers import uses_litellm
from router.dispatch.response import CONNECTION_FAULTS, UpstreamResponse, error_message, fault_in, retry_after_s
from router.dispatch.stream import Events
from router.dispatch.upstreams import Upstreams
from router.errors import BusyError, FieldError, UpstreamError, without_frames
from router.formats.units import rounded_ms
from router.types import Attempt
from router.wire import CONVERSIONS
from router.wire.errors import ReportedError

_LOG = logging.getLogger(__name__)


class DispatchSettings(Struct, frozen=True):
    """How calls are made. `retries`: how often a call is retried at the same deployment when its connection breaks.
    `retry_budget`: how often repeated calls may fail. `forward_headers`: patterns of the upstreams' headers that
    clients get. `fetch_hosts`: hosts, or patterns of them, from which the gateway fetches media that a client names and
    the provider does not fetch. `http2`: whether upstreams whose card does not say are called by HTTP/2.
    """

    timeouts: Timeouts = Timeouts()
    cooldown: Cooldown = Cooldown()
    queue: QueueLimits = QueueLimits()
    retries: int = 1
    retry_budget: RetryLimits = RetryLimits()
    forward_headers: tuple[str, ...] = ()
    fetch_hosts: tuple[str, ...] = ()
    http2: bool = False


class Dispatcher:
    """Relays calls to upstreams that support the client's protocol, converts them for the others, and records the
    health of every deployment. Create and use it on one event loop.
    """

    def __init__(self, settings: DispatchSettings = DispatchSettings()) -> None:  # noqa: B008 - frozen
        self.adapters = AdapterControl()
        self.pool = DeploymentPool(settings.cooldown, settings.queue, self.adapters)
        self.adapters.on_room = lambda _: self.pool.room_found()
        self._upstreams = Upstreams(settings.timeouts, settings.forward_headers, settings.fetch_hosts, settings.http2)
        self._retries = settings.retries
        self._repeats = RetryBudget(settings.retry_budget)
        self._restarts = Restarts()

    def configure(self, settings: DispatchSettings) -> None:
        """Use these settings for new calls. Running calls keep theirs."""
        self.pool.cooldown, self.pool.queue_limits = settings.cooldown, settings.queue
        self._upstreams.configure(settings.timeouts, settings.forward_headers, settings.fetch_hosts, settings.http2)
        self._retries, self._repeats.limits = settings.retries, settings.retry_budget

    def preload(self, cards: Iterable[Card]) -> None:
        """Load in the background what calls of these cards need."""
        if any(uses_litellm(deployment.card) for card in cards for deployment in deployments_of(card)):
            self._upstreams.preload()

    async def send(self, card: Card, call: Call) -> UpstreamResponse:
        """One attempt at the card's first deployment: the upstream's response, whatever its status.

        A stream has begun when this returns; close it. Raises UpstreamError where there is no HTTP response, or a
        stream broke off before its first content.
        """
        deployment = self.pool.deployments_of(card)[0]
        claim = None if deployment.card.adapters is None else Claim()
        is_streaming = False
        try:
            response = await self._send(deployment, claim, call)
            if not isinstance(response.body, bytes) and claim is not None:
                response.body.on_close(claim.release)
                is_streaming = True
            return response
        finally:
            if claim is not None and not is_streaming:
                claim.release()

    async def count_tokens(self, card: Card, call: Call) -> UpstreamResponse | None:
        """The token count of an Anthropic request by the card's upstream; None where it does not count tokens, or has
        no room for the card's adapter now.
        """
        deployment = self.pool.deployments_of(card)[0]
        if deployment.card.adapters is None or not self._upstreams.counts_tokens(deployment.card):
            return await self._upstreams.count_tokens(deployment.card, call)
        claim = self.adapters.claim(deployment)
        if claim is None:
            return None
        try:
            await self.adapters.settle(claim, deployment, call)
            return await self._upstreams.count_tokens(deployment.card, call)
        finally:
            claim.release()

    async def send_first_healthy(
        self,
        cards: Sequence[Card],
        call: Call,
        attempts: list[Attempt] | None = None,
        on_attempt: Callable[[], Mapping[str, str]] | None = None,
    ) -> UpstreamResponse:
        """The first response that is a success, or an error caused by the request itself.

        Every attempt is added to `attempts`; `on_attempt` is called before each, and returns headers for it. Where
        every card fails, the error that says most is returned (`rank` in `router.wire.errors.kinds`). Raises
        UpstreamError where there is no response at all, BusyError where no card could be called, and FieldError where
        no server of these cards supports the body.

        Where all have failed since a server on this machine is gone, this waits for it as long as for a free slot.
        """
        if not cards:
            raise ValueError("no card to call")
        attempts = [] if attempts is None else attempts
        limit_s = self.pool.queue_limits.wait_s
        until_s = min(call.ends_s, time.monotonic() + limit_s)
        call = self._converted_once(cards[0], call)
        for number in range(1, MOST_ROUNDS + 1):
            of_round: list[Attempt] = []
            outcome: UpstreamResponse | UpstreamError | BusyError
            try:
                outcome = await self._first_healthy(cards, call, of_round, on_attempt)
            except (UpstreamError, BusyError) as error:
                outcome = without_frames(error)
            finally:
                attempts += of_round
            if isinstance(outcome, UpstreamResponse) and outcome.status < 400:
                self._restarts.answered(outcome.card)
                return outcome
            # What a request refers to at its server is lost when that restarts.
            if number == MOST_ROUNDS or call.affinity.bound or time.monotonic() >= until_s:
                break
            each = [deployment for card in cards for deployment in self.pool.deployments_of(card)]
            restarted = await self._restarts.returned(each, outcome, limit_s)
            if not restarted:
                break
            self.pool.have_restarted(restarted)
            self.adapters.have_restarted(restarted)
            call = msgspec.structs.replace(call, fresh_connection=True)
        if isinstance(outcome, UpstreamResponse):
            return outcome
        try:
            raise outcome
        finally:
            # The error refers to this frame.
            del outcome

    async def _first_healthy(
        self,
        cards: Sequence[Card],
        call: Call,
        attempts: list[Attempt],
        on_attempt: Callable[[], Mapping[str, str]] | None,
    ) -> UpstreamResponse:
        """See `send_first_healthy`; one round."""
        failover = Failover(cards)
        while not (failover.is_over or (failover.tried and call.ends_s <= time.monotonic())):
            slot = await self.pool.acquire(
                failover.cards,
                failover.tried,
                failover.avoids,
                affinity=call.affinity,
                key=call.key_id,
                tenant=call.tenant,
                is_batch=call.is_batch,
            )
            if slot is None:
                break
            deployment = slot.deployment
            failover.tried.add(deployment.name)
            try:
                response = await self._attempt(slot, self._timed(failover, call), attempts, on_attempt)
            except UpstreamError as error:
                _LOG.warning("%s", one_line(str(error)))
                failover.add(deployment, without_frames(error))
                continue
            except FieldError as error:
                # Another card's server may support the field.
                failover.refuse(error)
                continue
            if response is None:
                continue
            if response.status < 400:
                return response
            failover.add(deployment, response)
        return failover.answer()

    async def send_to(self, card: Card, name: str, call: Call, attempts: list[Attempt]) -> UpstreamResponse:
        """One attempt at the card's deployment of this name, else at its first one, whatever its health is, for what is
        stored there: no adapter is loaded for it.

        Raises UpstreamError where there is no HTTP response.
        """
        deployments = self.pool.deployments_of(card)
        deployment = next((each for each in deployments if each.name == name), deployments[0])
        slot = self.pool.begin(deployment, call.key_id)
        try:
            return await self._attempt_once(slot, call, attempts, None)
        finally:
            self.pool.end(slot)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._restarts.aclose()
        await self._upstreams.aclose()
        await self.adapters.aclose()

    def _timed(self, failover: Failover, call: Call) -> Call:
        """The call with the time of its next attempt: half of what is left where another deployment could follow, so
        that one that hangs leaves time for it.
        """
        latest_s = call.ends_s
        if self.pool.has_ready(failover.cards, failover.tried, call.key_id):
            now_s = time.monotonic()
            latest_s = now_s + 0.5 * (latest_s - now_s)
        return call if call.first_by_s <= latest_s else msgspec.structs.replace(call, first_by_s=latest_s)

    async def _attempt(
        self,
        slot: Slot,
        call: Call,
        attempts: list[Attempt],
        on_attempt: Callable[[], Mapping[str, str]] | None,
    ) -> UpstreamResponse | None:
        """Call the deployment, whose slot has been acquired, and retry where the connection breaks. None where the
        retry budget does not allow this call.

        The slot is kept until the last attempt ends, or the stream does.
        """
        streaming, deployment, call = False, slot.deployment, call.at_server(slot.deployment.server)
        tokens: int | None = None
        try:
            # litellm itself repeats a call whose connection breaks; both together would bill it four times.
            facts = server_facts_of(deployment.card)
            retries = 0 if facts.by_litellm and call.api not in facts.apis else self._retries
            failure: UpstreamError | None = None
            for retry in range(retries + 1):
                is_first = not (attempts or call.repeats)
                permit = self._repeats.first(call.tenant) if is_first else await self._repeated(slot, call)
                if permit is None:
                    if failure is not None:
                        raise failure
                    return None
                with permit as paid:
                    if retry:
                        slot = self.pool.retry(slot)
                    try:
                        response = await self._attempt_once(slot, call, attempts, on_attempt)
                    except FieldError:
                        # The server was not called.
                        paid.failed = False
                        raise
                    except UpstreamError as error:
                        tokens = error.delivered_tokens or None
                        paid.failed = evidence_of_failure(error).health != "unchanged"
                        if retry == retries or error.fault not in CONNECTION_FAULTS:
                            raise
                        failure, call = without_frames(error), msgspec.structs.replace(call, fresh_connection=True)
                        continue
                    paid.failed = response.status >= 400 and fault_in(response).meaning.health != "unchanged"
                if not isinstance(response.body, bytes):
                    self._follow(slot, response, response.body, call)
                    streaming = True
                elif response.status < 400:
                    tokens = self._used_tokens(slot, response, call)
                return response
            raise AssertionError("an attempt neither returned nor raised")
        finally:
            if not streaming:
                self.pool.end(slot, tokens)

    def _repeated(self, slot: Slot, call: Call) -> Awaitable[Paid | None]:
        return self._repeats.repeated(call.tenant, functools.partial(self.pool.standing, slot))

    async def _attempt_once(
        self,
        slot: Slot,
        call: Call,
        attempts: list[Attempt],
        on_attempt: Callable[[], Mapping[str, str]] | None,
    ) -> UpstreamResponse:
        started_s, deployment = time.monotonic(), slot.deployment

        def record(status: int | None, fault: str | None = None, delivered: int = 0) -> None:
            elapsed_ms = rounded_ms(time.monotonic() - started_s)
            attempts.append(Attempt(deployment.card.id, deployment.name, status, elapsed_ms, fault, delivered))

        try:
            if on_attempt is not None and (added := on_attempt()):
                call = msgspec.structs.replace(call, headers={**call.headers, **added})
            response = await self._send(deployment, slot.claim, call)
            if response.status >= 400:
                fault = fault_in(response)
                record(response.status, None if fault.kind == "invalid_request" else fault.name)
                evidence = evidence_of(fault, retry_after_s(response.headers))
                self.pool.record_failure(slot, evidence, of_account=fault.meaning.shared_by == "key")
                return response
            record(response.status)
            if isinstance(response.body, bytes):
                self.pool.record_success(slot, self._used_tokens(slot, response, call) or 0)
            else:
                self.pool.record_answer(slot)
            return response
        except UpstreamError as error:
            record(None, error.fault, error.delivered_tokens)
            if error.fault != "late" or not self._is_too_short(time.monotonic() - started_s, call):
                self.pool.record_failure(slot, evidence_of_failure(error))
            raise

    def _is_too_short(self, seconds: float, call: Call) -> bool:
        """Whether an attempt ended since the request had hardly any time left, which shows nothing of its upstream."""
        limits = self._upstreams.timeouts
        enough_s = min(limits.first_token_s, limits.total_s / FAIR_SHARE)
        return time.monotonic() >= call.first_by_s and seconds < enough_s

    def _follow(self, slot: Slot, response: UpstreamResponse, stream: Events, call: Call) -> None:
        """Record how the stream ends, and keep the deployment's slot until then."""

        def on_close() -> None:
            tokens = self._used_tokens(slot, response, call)
            if stream.problem is not None:
                self.pool.record_failure(slot, evidence_of_failure(stream.problem))
            elif stream.complete:
                self.pool.record_success(slot, tokens or 0)
            self.pool.end(slot, tokens)

        stream.on_close(on_close)

    def _used_tokens(self, slot: Slot, response: UpstreamResponse, call: Call) -> int | None:
        """The tokens of a call so far; None where they do not matter: without reported usage, texts are counted."""
        usage = booked_usage(response, call.api, call.body) if self.pool.counts_tokens(slot) else None
        return None if usage is None else usage.total_tokens

    def _converted_once(self, card: Card, call: Call) -> Call:
        """The call with its chat body, where the card that is called first needs one and it has not been made yet."""
        if call.chat_body is not None or call.raw is not None or call.api not in CONVERSIONS:
            return call
        if all(call.api in server_facts_of(deployment.card).apis for deployment in self.pool.deployments_of(card)):
            return call
        return msgspec.structs.replace(call, chat_body=CONVERSIONS[call.api].to_chat(call.body))

    def _send(self, deployment: Deployment, claim: Claim | None, call: Call) -> Awaitable[UpstreamResponse]:
        """One attempt; `claim` is None where the deployment's card says nothing of adapters."""
        if claim is None:
            return self._upstreams.send(deployment.card, call)
        return self._send_with_adapter(deployment, claim, call)

    async def _send_with_adapter(self, deployment: Deployment, claim: Claim, call: Call) -> UpstreamResponse:
        """Send the call once the adapter of its card is loaded. Where the server does not have it after all, since it
        has restarted, the adapter is loaded and the call sent once more.
        """
        await self.adapters.settle(claim, deployment, call)
        try:
            response = await self._upstreams.send(deployment.card, call)
            if response.status < 400 or not is_lost(deployment.card, response.status, error_message(response)):
                return response
        except ReportedError as error:
            # Some say it in a stream that has begun.
            if not is_lost(deployment.card, error.reported.status, error.reported.details.message or ""):
                raise
        self.adapters.lost(deployment)
        claim.give_up()
        await self.adapters.settle(claim, deployment, call)
        return await self._upstreams.send(deployment.card, call)
