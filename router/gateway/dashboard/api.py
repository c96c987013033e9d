"""The JSON that the page reads, for operators."""

from __future__ import annotations

import asyncio
import datetime
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from router.errors import BusyError, CallerError, ConfigurationError, FieldError, FileError, UnknownIdError
from router.gateway.config.reload import ActiveConfig
from router.gateway.dashboard import routing, traffic
from router.gateway.dashboard.assets import HEADERS
from router.gateway.endpoints.keyed import Entry
from router.gateway.endpoints.operator.access import check_operator
from router.store.records.protocol import Filter, RecordStore

_JSON = "application/json"
_HEADERS = {**HEADERS, "cache-control": "no-store"}
_HOUR_S = 3600.0
_LONGEST_S = 400 * 24 * _HOUR_S
_MOST_ROWS = 500
_LIVE_EVERY_S = 2.0
_MOST_LIVE = 16
_RETRY_AFTER_S = 5.0

Result = TypeVar("Result")


class Dashboard:
    """Handlers of `/dashboard/api/…`. `open_records` opens the records, None where the gateway keeps none; `setup` and
    `cards` describe the configuration, and `live` is the state of this moment; `decide` is the dry run.
    """

    def __init__(
        self,
        open_records: Callable[[], RecordStore | None] | None,
        setup: Callable[[], dict[str, Any]],
        cards: Callable[[], list[dict[str, Any]]],
        live: Callable[[], dict[str, Any]],
        decide: Callable[[Request, Entry], Awaitable[Response]],
    ) -> None:
        self._open_records, self._setup, self._cards = open_records, setup, cards
        self._live, self._decide = live, decide
        self._streams = 0

    async def setup(self, _: Request, entry: Entry) -> Response:
        """`GET setup`: policies, plans, goals and cards by name."""
        self._enter(entry)
        return _answer(self._setup())

    async def cards(self, _: Request, entry: Entry) -> Response:
        """`GET cards`: every card with its facts and its state."""
        self._enter(entry)
        return _answer(self._cards())

    async def traffic(self, http: Request, entry: Entry) -> Response:
        """`GET traffic?hours=24`: the requests of the last hours."""
        self._enter(entry)
        now_s = time.time()
        return _answer(await self._read(lambda records: traffic.traffic(records, now_s - _hours_s(http), now_s)))

    async def savings(self, http: Request, entry: Entry) -> Response:
        """`GET savings?hours=24`: the newest routed requests of the last hours, compared with one card for all."""
        self._enter(entry)
        since_s, active = time.time() - _hours_s(http), entry.request.active
        return _answer(await self._read(lambda records: routing.saved(records, since_s, active)))

    async def routing(self, http: Request, entry: Entry) -> Response:
        """`GET routing?hours=24`: guard, plans and calibration of the newest routed requests of the last hours."""
        self._enter(entry)
        since_s = time.time() - _hours_s(http)
        return _answer(await self._read(lambda records: routing.routing(records, since_s)))

    async def requests(self, http: Request, entry: Entry) -> Response:
        """`GET requests?limit=50&before=…&card=…&key=…&errors=1`: the newest requests, newest first."""
        self._enter(entry)
        asked = http.query_params
        wanted = Filter(
            card=asked.get("card") or None,
            key=asked.get("key") or None,
            errors=asked.get("errors") == "1",
            routed=asked.get("routed") == "1",
            until=_number(http, "before", None),
        )
        limit = min(math.ceil(_number(http, "limit", 50.0)), _MOST_ROWS)
        found = await self._read(lambda records: traffic.rows(reversed(records.tail(limit, wanted, prompts=False))))
        return _answer({"requests": found, "before": found[-1].at if len(found) == limit else None})

    async def request(self, http: Request, entry: Entry) -> Response:
        """`GET requests/{id}`: one request in full, and its decision again."""
        self._enter(entry)
        id_, active, today = http.path_params["id"], entry.request.active, datetime.datetime.now(datetime.UTC).date()
        return _answer(await self._read(lambda records: _one(records, id_, active, today)))

    async def live(self, _: Request, entry: Entry) -> Response:
        """`GET live`: the state now, then every two seconds, as events. Ends with the time limit of requests."""
        self._enter(entry)
        if self._streams >= _MOST_LIVE:
            raise BusyError(f"{_MOST_LIVE} pages are open already", _RETRY_AFTER_S)
        return StreamingResponse(self._events(), media_type="text/event-stream", headers=_HEADERS)

    async def decide(self, http: Request, entry: Entry) -> Response:
        """`POST decide`: what `POST /route` answers, for the playground."""
        self._enter(entry)
        return await self._decide(http, entry)

    def _enter(self, entry: Entry) -> None:
        """Raise HTTPException where there is no dashboard, and PermissionDeniedError for who is no operator."""
        if not entry.request.active.config.dashboard:
            raise HTTPException(404)
        check_operator(entry)

    async def _events(self) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            while True:
                yield b"data: " + msgspec.json.encode(self._live()) + b"\n\n"
                await asyncio.sleep(_LIVE_EVERY_S)
        finally:
            self._streams -= 1

    async def _read(self, read: Callable[[RecordStore], Result]) -> Result:
        if self._open_records is None:
            raise ConfigurationError(
                "this gateway keeps no records (`route serve --no-records`), so there are no requests"
            )
        return await asyncio.to_thread(_with_records, self._open_records, read)


def _with_records(open_records: Callable[[], RecordStore | None], read: Callable[[RecordStore], Result]) -> Result:
    try:
        records = open_records()
        if records is None:
            raise ConfigurationError("there are no records yet")
        with records:
            return read(records)
    except FileError as error:
        raise BusyError(f"the records cannot be read at the moment: {error.problem}", _RETRY_AFTER_S) from None


def _one(records: RecordStore, id_: str, active: ActiveConfig, today: datetime.date) -> dict[str, Any]:
    try:
        record = records.find(id_)
    except CallerError as error:
        raise UnknownIdError("id", str(error)) from None
    return traffic.in_full(record, records, active, today)


def _hours_s(http: Request) -> float:
    """The time that the request is about, in seconds."""
    return min(float(_number(http, "hours", 24.0)) * _HOUR_S, _LONGEST_S)


def _number(http: Request, name: str, default: Any) -> Any:
    text = http.query_params.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise FieldError(name, f'must be a number above 0, not "{text[:40]}"')
    return value


def _answer(value: object) -> Response:
    return Response(msgspec.json.encode(value), headers=_HEADERS, media_type=_JSON)
