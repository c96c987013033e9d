"""One request for an answer: read, route, call, respond, record."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from router.cards import Card
from router.dispatch import Call, UpstreamResponse
from router.dispatch.bounds.admission import Running
from router.dispatch.bounds.body_memory import Reserved
from router.dispatch.providers import server_of
from router.dispatch.stream import Events, EventStream
from router.errors import PulvinarError, UpstreamError
from router.formats.units import rounded_ms
from router.gateway.endpoints.accounting import Accounting
from router.gateway.endpoints.keyed import authenticated, check_room, take_request, tenant_of, turn_of
from router.gateway.endpoints.readers import Readers
from router.gateway.endpoints.responder import Responder, without_type
from router.gateway.endpoints.services import Services
from router.gateway.endpoints.stored_responses import remember_response
from router.gateway.http.body import LARGE_BODY_BYTES, read_body, read_json_object
from router.gateway.http.client.connection import StalledClientError
from router.gateway.http.client.exchange import exchange_of
from router.gateway.http.disconnect import CLIENT_CLOSED_REQUEST, CancelOnDisconnect
from router.gateway.http.errors import ErrorResponse, error_response, upstream_error_response
from router.gateway.http.surfaces import EVENT_STREAM, Surface
from router.gateway.routing.bill import Bill
from router.gateway.routing.composed import brief_of
from router.gateway.routing.headers import routing_headers
from router.gateway.routing.permissions import Ownership, permitted
from router.gateway.routing.selection import GatewayRequest, Selection
from router.store.state.protocol import LastAnswer
from router.types import Outcome
from router.wire import wants_stream

_NO_HEADERS: Mapping[str, str] = {}


class CompletionHandler:
    """Handles one request: read, route, dispatch, respond, record. Always responds."""

    def __init__(self, services: Services, surface: Surface, scope: Scope) -> None:
        self._services, self._surface = services, surface
        self._exchange = exchange_of(scope)
        self._headers = self._exchange.headers
        self._record_id: str = scope["state"]["record_id"]
        self._model_in_path: str | None = scope["state"].get("model")  # of an Azure deployment
        self._at, self._started_s = time.time(), time.monotonic()
        self._client: str = scope["state"]["client"]
        self._responder = Responder(self._exchange, self._routing_headers, surface.stream_type)
        self._accounting = Accounting(services.state, services.lines)
        self._tenant = ""
        self._running: Running | None = None
        self._memory: Reserved | None = None
        self._disconnect: CancelOnDisconnect | None = None
        self._request: GatewayRequest | None = None
        self._selection: Selection | None = None
        self._response: UpstreamResponse | None = None
        self._bill, self._ownership = Bill(surface.api), Ownership(services.state)
        self._tokens_at_departure: int | None = None
        self._readers = Readers(surface.api)
        self._left_out: tuple[str, ...] = ()
        self._overhead_ms = 0.0
        self._ttft_ms: float | None = None
        self._has_failed = self._is_recorded = False
        self._trace = traces.begin(self._headers, surface.name, self._at) if (traces := services.traces) else None

    async def run(self) -> None:
        """Answer the request."""
        try:
            try:
                self._request = await self._entered()
                tenant = self._tenant = tenant_of(self._request)
                with self._services.bodies.reserved(tenant) as self._memory:
                    began_s = time.monotonic()
                    request = await self._read(self._request, self._memory)
                    await self._services.pace.turn(tenant)
                    # How long a client takes to send its request shortens nobody's time to answer.
                    self._exchange.ends_s += time.monotonic() - began_s
                    self._disconnect = CancelOnDisconnect(self._exchange.connection, self._exchange.ends_s)
                    with self._disconnect:
                        await self._answer(request)
                    self._services.shadows.offer(self._request, self._selection, self._readers.copy)
            except PulvinarError as error:
                await self._respond_with_error(error_response(error))
        except StalledClientError:
            await self._read_on()
            await self._record(CLIENT_CLOSED_REQUEST, "client_stalled")
        except ClientDisconnect:
            # What has arrived meanwhile is charged, too.
            await self._end_stream()
            await self._record(CLIENT_CLOSED_REQUEST, "client_left")
        finally:
            await self._close()

    async def _entered(self) -> GatewayRequest:
        """The request before its body is read, which is recorded even where that fails."""
        active = self._services.reloader.current
        key = authenticated(active, self._headers, self._exchange)
        self._request = GatewayRequest(self._surface, active, key, self._headers, {})
        check_room(self._services, self._request)
        if key is not None and key.rpm is not None:
            await take_request(self._services, self._request, self._at)
        return self._request

    async def _read(self, request: GatewayRequest, memory: Reserved) -> GatewayRequest:
        config = request.active.config
        raw = await read_body(self._exchange, config.max_body_bytes, memory)
        body = await read_json_object(raw, config.json_limits, memory)
        if self._model_in_path is not None:
            body["model"] = self._model_in_path
        body = self._surface.prepared(body)
        is_large = len(raw) > LARGE_BODY_BYTES
        request = self._request = msgspec.structs.replace(request, body=body, is_large=is_large)
        if wants_stream(body) and self._surface.streams:
            request = self._request = msgspec.structs.replace(request, stream=True)
        return self._permitted(request)

    def _permitted(self, request: GatewayRequest) -> GatewayRequest:
        request, self._left_out = permitted(request)
        self._request = request
        return request

    async def _take_turn(self, request: GatewayRequest, card: Card) -> Running:
        """Wait until the request may run, which it does until its response is complete."""
        self._running = await self._services.admission.begin(turn_of(self._services, request, card))
        return self._running

    async def _answer(self, request: GatewayRequest) -> None:
        services = self._services
        if (answer := self._surface.immediate(request.body)) is not None:
            await self._record(200, None)
            await self._responder.whole(200, {}, answer)
            return
        await self._ownership.check(request, self._at)
        selection = self._selection = await services.selector.select(request, self._record_id)
        self._readers.begin(selection, is_compared=services.shadows.wants(request, selection, self._record_id))
        # A request that waits for its key's budget takes no turn from others.
        await self._accounting.reserve(request, selection, self._at)
        running = await self._take_turn(request, selection.card)
        self._overhead_ms = self._elapsed_ms()
        call = Call(
            self._surface.api,
            selection.body,
            request.stream,
            request.headers,
            selection.chat_body,
            affinity=selection.affinity,
            key_id=request.key_id,
            ends_s=self._exchange.ends_s,
            first_by_s=self._exchange.ends_s,
            tenant=self._tenant,
            is_batch=selection.is_batch,
        )
        brief = brief_of(request, selection, self._record_id)
        calling = services.runner.run(
            selection.plan,
            selection.catalog,
            call,
            self._bill.attempts,
            self._before_attempt,
            brief,
            self._bill.ledger,
            self._memory,
            running,
        )
        response = await self._responder.keeping_alive(self._called(calling), self._keepalive_s(request))
        self._ttft_ms = self._elapsed_ms()
        if isinstance(response.body, bytes):
            await self._respond_whole(response, response.body)
        else:
            await self._respond_with_stream(request, response, response.body)

    def _before_attempt(self) -> Mapping[str, str]:
        """The headers of the next upstream call; none is begun for a client that has left."""
        if self._disconnect is not None and self._request is not None and self._accounting.is_charged:
            if self._disconnect.has_left:
                raise ClientDisconnect
            # From now on the upstream counts, so its answer is read on for a while after the client has left. The calls
            # of a plan all end at once, and what has arrived of them is counted, until only the shown one is left.
            self._disconnect.grace_s = 0.0 if self._bill.ledger.plan else self._request.active.config.budgets.drain_s
        self._bill.begun_attempts += 1
        return _NO_HEADERS if self._trace is None else self._trace.attempt(self._bill.ledger.newest_step)

    @property
    def _client_has_left(self) -> bool:
        return self._disconnect is not None and self._disconnect.has_left

    async def _called(self, calling: Awaitable[UpstreamResponse]) -> UpstreamResponse:
        """The response, kept at once: `_close` closes it even where the client disconnects as it arrives."""
        self._response = await calling
        return self._response

    async def _respond_whole(self, response: UpstreamResponse, body: bytes) -> None:
        self._readers.add(body)
        await self._ownership.remember_made(self._request, body, self._at)
        if response.status >= 400:
            await self._respond_with_upstream_error(response, body)
            return
        if self._surface.api == "responses":
            await self._remember_response(response, body)
        await self._record(response.status, None)
        await self._responder.whole(response.status, without_type(response.headers), body)

    async def _respond_with_upstream_error(self, response: UpstreamResponse, body: bytes) -> None:
        error = upstream_error_response(response)
        if self._responder.has_begun:
            await self._end_stream_with_error(error)
            return
        if not self._surface.is_native_error(response.decoded):
            body = self._surface.error(error)
        await self._record(error.status, error.code)
        await self._responder.whole(error.status, error.headers, body)

    async def _respond_with_stream(self, request: GatewayRequest, response: UpstreamResponse, events: Events) -> None:
        if self._disconnect is not None and self._accounting.is_charged and self._bill.ledger.only_shows:
            self._disconnect.grace_s = request.active.config.budgets.drain_s
        await self._responder.begin_stream(without_type(response.headers))
        if isinstance(events, EventStream):
            events.offer_to(lambda piece: self._passes(request, piece))
        is_first = True
        try:
            while not events.complete:
                piece = await self._responder.keeping_alive(anext(events), self._keepalive_s(request))
                if self._client_has_left:
                    self._check_drain(request, events)
                self._readers.add(piece)
                await self._ownership.remember_made(request, piece, self._at)
                if is_first:
                    await self._remember_response(response, piece)
                is_first = False
                if events.complete:
                    # The record is on disk before the client knows that the answer is complete.
                    await self._record(response.status, None)
                await self._responder.events(piece, is_last=events.complete)
        except UpstreamError as error:
            shown = error_response(error)
            await self._end_stream_with_error(shown, events.failure(shown.message, shown.kind, shown.code))

    def _passes(self, request: GatewayRequest, events: bytes) -> bool:
        """Send events that only continue a text at once. False where something has to be waited for."""
        if self._client_has_left or self._ownership.new_ids(request, events) or not self._exchange.write_now(events):
            return False
        self._responder.has_passed()
        self._readers.add(events)
        return True

    async def _read_on(self) -> None:
        """Read the rest of a stream, for its usage, although the client does not take it."""
        request, response = self._request, self._response
        if request is None or response is None or isinstance(response.body, bytes) or not self._accounting.is_charged:
            return
        drain_s = request.active.config.budgets.drain_s
        response.body.prolong(drain_s)
        with contextlib.suppress(UpstreamError, ClientDisconnect, TimeoutError):
            async with asyncio.timeout(drain_s):
                async for _ in response.body:
                    self._check_drain(request, response.body)
        await self._end_stream()

    def _check_drain(self, request: GatewayRequest, events: Events) -> None:
        """Stop reading where the answer is too long and nobody takes it. Raises ClientDisconnect."""
        if self._tokens_at_departure is None:
            self._tokens_at_departure = events.delivered.tokens
        if events.delivered.tokens - self._tokens_at_departure > request.active.config.budgets.drain_tokens:
            self._bill.is_endless = not events.complete
            raise ClientDisconnect

    async def _respond_with_error(self, error: ErrorResponse) -> None:
        if self._responder.has_begun:
            await self._end_stream_with_error(error)
            return
        await self._record(error.status, error.code)
        await self._responder.whole(error.status, error.headers, self._surface.error(error))

    async def _end_stream_with_error(self, error: ErrorResponse, event: bytes | None = None) -> None:
        shown = b"" if self._has_failed else event or self._surface.failure(error)
        self._has_failed = True
        body = b"" if self._response is None else self._response.body
        if not (isinstance(body, bytes) or body.complete or body.problem):
            # The time of the exchange is over, and the client may have read slowly: the answer may be longer.
            await self._responder.events(shown, is_last=False)
            shown = b""
            await self._read_on()
        await self._record(200, error.code)
        await self._responder.events(shown, is_last=True)

    async def _end_stream(self) -> None:
        """End the upstream call of a stream."""
        if self._response is not None and not isinstance(self._response.body, bytes):
            await self._response.body.aclose()

    async def _close(self) -> None:
        try:
            if self._running is not None:
                self._running.end()
            await self._end_stream()
        finally:
            if not self._is_recorded:
                # The gateway itself failed, or is shutting down.
                await self._record(500, "internal_error")
            self._services.answered(self._readers.copy)
            # Nothing of a request should wait for the garbage collector, which stops the event loop. The responder
            # refers to this handler, and so does an error that somebody keeps.
            self._request = self._response = self._selection = None
            del self._responder

    def _keepalive_s(self, request: GatewayRequest) -> float:
        # Lines of JSON have no comments.
        is_possible = request.stream and self._surface.stream_type == EVENT_STREAM
        return request.active.config.keepalive_s if is_possible else 0

    def _elapsed_ms(self) -> float:
        return rounded_ms(time.monotonic() - self._started_s)

    def _routing_headers(self) -> dict[str, str]:
        response = self._response
        is_whole = response is not None and isinstance(response.body, bytes)
        cost = self._bill.cost_usd(response, self._bill.usage(self._request, response)) if is_whole else None
        return routing_headers(self._selection, response, self._bill.ledger, self._left_out, self._overhead_ms, cost)

    async def _record(self, status: int, error: str | None) -> None:
        """Write the record, settle the cost and remember the conversation's card, once."""
        if self._is_recorded:
            return
        self._is_recorded = True
        if self._disconnect is not None:
            # A client that leaves from now on ends nothing: what it is to get is on its way.
            self._disconnect.stop()
        if self._client_has_left:
            status, error = CLIENT_CLOSED_REQUEST, "client_left"
        request, response, bill = self._request, self._response, self._bill
        usage = bill.usage(request, response)
        upstream_served = response is not None and response.status < 400
        charged_usd = bill.charged_usd(request, self._selection, response, usage)
        unfinished = bill.unfinished(request, response, status, usage)
        cost = self._accounting.charge_usd(charged_usd, served=upstream_served, unfinished=unfinished)
        outcome = Outcome(
            status=status,
            total_ms=self._elapsed_ms(),
            card=None if response is None else response.card.id,
            attempts=tuple(bill.attempts),
            usage=usage,
            cost_usd=cost,
            ttft_ms=self._ttft_ms,
            overhead_ms=self._overhead_ms,
            error=error,
            plan=bill.ledger.plan or None,
            degraded=bill.ledger.degraded or None,
            calls=bill.ledger.outcomes(self._started_s),
            refused=self._readers.has_refused,
        )
        try:
            await self._write(outcome)
        finally:
            # Also where the deadline comes meanwhile.
            if self._accounting.has_reserved:
                await self._accounting.settle(cost or 0.0)
        if upstream_served and error is None:
            await self._remember_card()

    async def _write(self, outcome: Outcome) -> None:
        services = self._services
        record = services.recorder.record_of(
            self._record_id, self._at, self._surface.name, self._request, self._selection, outcome, self._client
        )
        if self._readers.copy is not None:
            self._readers.copy.record = record
        if self._trace is not None:
            self._trace.end(record)
        await services.write(record)

    async def _remember_response(self, response: UpstreamResponse, piece: bytes) -> None:
        """Remember which deployment made a response that its upstream stores."""
        if self._request is not None:
            await remember_response(self._services.state, self._request, response, piece, self._bill.attempts, self._at)

    async def _remember_card(self) -> None:
        request, selection, response = self._request, self._selection, self._response
        if request is None or response is None or selection is None or selection.identity is None:
            return
        answer = LastAnswer(response.card.id, server_of(response.card))
        made = self._readers.names(request.body)
        await self._services.sessions.remember(selection.identity, made, answer, request.key_id)
