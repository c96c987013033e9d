"""One request, from its head to its record."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from router.dispatch import Call, Dispatcher, UpstreamResponse
from router.dispatch.costs import cost_usd, price_of
from router.dispatch.queue import Admission
from router.dispatch.stream import Events
from router.errors import PulvinarError, UpstreamError
from router.gateway.config.keys import Key, presented_key
from router.gateway.config.reload import ConfigReloader
from router.gateway.http.body import read_object, read_raw, wants_stream
from router.gateway.http.disconnect import CancelOnDisconnect
from router.gateway.http.errors import ErrorResponse, error_response, upstream_error_response
from router.gateway.http.surfaces import Surface
from router.gateway.routing.recorder import Recorder
from router.gateway.routing.selection import GatewayRequest, Selection, Selector
from router.store.records.record import Record
from router.store.state.sqlite import Reservation, State, StateError
from router.types import Attempt, Outcome, Usage

if TYPE_CHECKING:
    from router.gateway.telemetry.spans import Traces

T = TypeVar("T")
Sink = Callable[[Record], None]
Headers = list[tuple[bytes, bytes]]

# Choosing a model for more than this takes long enough for other clients to notice.
_LARGE_BODY_BYTES = 256 * 1024
_CLIENT_LEFT = 499
_EXPECTED_OUTPUT_TOKENS = 500
_CHARACTERS_A_TOKEN = 4
_JSON = (b"content-type", b"application/json")
_SSE: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    # nginx would hold events back to fill its buffer.
    (b"x-accel-buffering", b"no"),
]
_KEEP_ALIVE = b": keep-alive\n\n"


class Services(Struct, frozen=True, eq=False):
    """What every exchange of a worker uses."""

    live: ConfigReloader
    chooser: Selector
    dispatcher: Dispatcher
    admission: Admission
    state: State
    conversations: State
    recorder: Recorder
    sinks: Sequence[Sink] = ()
    traces: Traces | None = None


class CompletionHandler:
    """Reads one request, has it answered, and leaves a record. Whatever happens, the client is told."""

    def __init__(self, parts: Services, surface: Surface, scope: Scope, receive: Receive, send: Send) -> None:
        self._parts, self._surface = parts, surface
        self._receive, self._send = receive, send
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._id: str = scope["state"]["record_id"]
        self._at, self._started_s = time.time(), time.monotonic()
        self._asked: GatewayRequest | None = None
        self._choice: Selection | None = None
        self._answer: UpstreamResponse | None = None
        self._reservation: Reservation | None = None
        self._attempts: list[Attempt] = []
        self._departure: CancelOnDisconnect | None = None
        self._overhead_ms = 0.0
        self._ttft_ms: float | None = None
        self._has_begun = self._is_recorded = False
        self._trace = None if parts.traces is None else parts.traces.begin(self._headers, surface.name, self._at)

    async def run(self) -> None:
        """Answer the request."""
        try:
            try:
                asked = await self._read()
                async with CancelOnDisconnect(self._receive) as self._departure, self._parts.admission.turn():
                    await self._serve(asked)
            except PulvinarError as error:
                await self._refuse(error_response(error))
        except ClientDisconnect:
            self._record(_CLIENT_LEFT, self._usage(), "client_left")
        finally:
            await self._let_go()

    async def _read(self) -> GatewayRequest:
        loaded = self._parts.live.current
        key = loaded.keys.authenticate(presented_key(self._headers))
        asked = self._asked = GatewayRequest(self._surface, loaded, key, self._headers, {})
        raw = await read_raw(self._receive, loaded.config.max_body_bytes)
        is_large = len(raw) > _LARGE_BODY_BYTES
        deepest = loaded.config.max_depth
        body = await asyncio.to_thread(read_object, raw, deepest) if is_large else read_object(raw, deepest)
        asked = self._asked = msgspec.structs.replace(asked, body=body, is_large=is_large)
        asked = self._asked = msgspec.structs.replace(asked, stream=wants_stream(body) and self._surface.streams)
        return asked

    async def _serve(self, asked: GatewayRequest) -> None:
        if asked.key is not None and asked.key.rpm is not None:
            self._parts.state.take_request(asked.key.id, asked.key.rpm, self._at)
        choose = self._parts.chooser.choose
        choice = self._choice = await asyncio.to_thread(choose, asked) if asked.is_large else choose(asked)
        self._set_aside(asked.key, choice)
        self._overhead_ms = self._elapsed_ms()
        call = Call(self._surface.api, choice.body, asked.stream, self._headers)
        announce = None if self._trace is None else self._trace.attempt
        calling = self._parts.dispatcher.send_first_healthy(choice.cards, call, self._attempts, announce)
        answer = await self._patiently(calling)
        self._answer = answer
        self._ttft_ms = self._elapsed_ms()
        if isinstance(answer.body, bytes):
            await self._pass_on(answer, answer.body)
        else:
            await self._stream(answer, answer.body)

    async def _pass_on(self, answer: UpstreamResponse, body: bytes) -> None:
        error = None
        if answer.status >= 400:
            fault = upstream_error_response(answer)
            if self._has_begun:
                await self._fail(fault)
                return
            body, error = self._surface.refusal(answer), fault.code
        self._record(answer.status, answer.usage, error)
        headers = {name: value for name, value in answer.headers.items() if name != "content-type"}
        await self._end(answer.status, headers, body)

    async def _stream(self, answer: UpstreamResponse, events: Events) -> None:
        await self._begin_stream()
        try:
            while not events.complete:
                piece = await self._patiently(anext(events))
                if events.complete:
                    # The record is safe before the client knows that it has everything.
                    self._record(answer.status, events.usage, None)
                    self._stop_watching()
                await self._send({"type": "http.response.body", "body": piece, "more_body": not events.complete})
        except UpstreamError as error:
            fault = error_response(error)
            await self._fail(fault, events.failure(fault.message, fault.kind, fault.code))

    async def _patiently(self, work: Awaitable[T]) -> T:
        """The result of `work`. Where keep-alives are configured, a stream that is quiet gets comments meanwhile."""
        asked = self._asked
        interval_s = asked.loaded.config.keepalive_s if asked is not None and asked.stream else 0
        if not interval_s:
            return await work
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait((task,), timeout=interval_s))[0]:
                await self._begin_stream()
                await self._send({"type": "http.response.body", "body": _KEEP_ALIVE, "more_body": True})
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    async def _begin_stream(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            headers = [*_SSE, *_encoded(self._shown())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _refuse(self, fault: ErrorResponse) -> None:
        if self._has_begun:
            await self._fail(fault)
            return
        self._record(fault.status, None, fault.code)
        await self._end(fault.status, fault.headers, self._surface.error(fault))

    async def _fail(self, fault: ErrorResponse, event: bytes | None = None) -> None:
        """End a stream that has begun with an error."""
        self._record(200, self._usage(), fault.code)
        self._stop_watching()
        last = event or self._surface.failure(fault)
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _end(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._has_begun = True
        self._stop_watching()
        length = {"content-length": str(len(body))}
        sent = [_JSON, *_encoded({**headers, **length, **self._shown()})]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _stop_watching(self) -> None:
        if self._departure is not None:
            self._departure.stop()

    async def _let_go(self) -> None:
        if self._answer is not None and not isinstance(self._answer.body, bytes):
            await self._answer.body.aclose()
        if not self._is_recorded:
            # The gateway itself failed, or is going down.
            self._record(500, self._usage(), "internal_error")

    def _set_aside(self, key: Key | None, choice: Selection) -> None:
        if key is None or key.budget_usd_per_day is None:
            return
        expected_usd = _expected_cost_usd(choice)
        self._reservation = self._parts.state.reserve(key.id, key.budget_usd_per_day, expected_usd, self._at)

    def _usage(self) -> Usage | None:
        if self._answer is None:
            return None
        return self._answer.usage if isinstance(self._answer.body, bytes) else self._answer.body.usage

    def _cost_usd(self, usage: Usage | None) -> float | None:
        price = price_of(self._answer.card) if self._answer is not None else None
        return None if price is None or usage is None else cost_usd(price, usage)

    def _elapsed_ms(self) -> float:
        return round((time.monotonic() - self._started_s) * 1000, 3)

    def _shown(self) -> dict[str, str]:
        """The headers that tell of the choice, where the policy wants them told."""
        choice, answer = self._choice, self._answer
        if choice is None or choice.policy.headers == "off":
            return {}
        shown = {"x-route-overhead-ms": f"{self._overhead_ms:.3f}"}
        if answer is not None:
            shown["x-route-card"] = answer.card.id
        if choice.routed is not None:
            shown["x-route-policy"] = choice.policy.id
        expected = choice.expected(answer.card.id) if answer is not None else None
        if expected is not None:
            shown["x-route-quality"] = f"{expected.quality:.3f}"
        usage = self._usage()
        cost = self._cost_usd(usage) if usage is not None else (expected.cost_usd if expected else None)
        if cost is not None:
            shown["x-route-cost-usd"] = f"{cost:.6f}"
        return shown

    def _record(self, status: int, usage: Usage | None, error: str | None) -> None:
        """Leave the request's record, once."""
        if self._is_recorded:
            return
        self._is_recorded = True
        asked, choice, answer = self._asked, self._choice, self._answer
        cost = self._cost_usd(usage)
        self._settle(status, cost)
        if choice is not None and choice.session and answer is not None and answer.status < 400 and error is None:
            self._remember(choice.session, answer.card.id)
        outcome = Outcome(
            status=status,
            total_ms=self._elapsed_ms(),
            card=None if answer is None else answer.card.id,
            attempts=tuple(self._attempts),
            usage=usage,
            cost_usd=cost,
            ttft_ms=self._ttft_ms,
            overhead_ms=self._overhead_ms,
            error=error,
        )
        record = self._parts.recorder.record_of(self._id, self._at, self._surface.name, asked, choice, outcome)
        for sink in self._parts.sinks:
            sink(record)
        if self._trace is not None:
            self._trace.end(record)

    def _settle(self, status: int, cost: float | None) -> None:
        if self._reservation is None:
            return
        if cost is None:
            # Without usage nobody knows; what was begun counts as expected, what failed as nothing.
            begun = status < 400 or (self._answer is not None and self._answer.status < 400)
            cost = self._reservation.cost_nano / 1e9 if begun else 0.0
        with contextlib.suppress(StateError):
            self._parts.state.settle(self._reservation, cost)

    def _remember(self, session: str, card: str) -> None:
        key = self._asked.key if self._asked is not None else None
        with contextlib.suppress(StateError):
            self._parts.conversations.remember(session, card, self._at, "" if key is None else key.id)


def _encoded(headers: Mapping[str, str]) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]


def _expected_cost_usd(choice: Selection) -> float:
    """The forecast, else that of a usual answer; nothing where no price is known."""
    expected = choice.expected(choice.cards[0].id)
    if expected is not None and expected.cost_usd is not None:
        return expected.cost_usd
    price = price_of(choice.cards[0])
    if price is None:
        return 0.0
    input_tokens = len(msgspec.json.encode(choice.body)) // _CHARACTERS_A_TOKEN
    return cost_usd(price, Usage(input_tokens, _EXPECTED_OUTPUT_TOKENS))
