"""The JSON that the page reads, for operators."""

from __future__ import annotations

import asyncio
import datetime
import functools
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from router.errors import BusyError, CallerError, ConfigurationError, FieldError, FileError, UnknownIdError
from router.gateway.config.reload import ActiveConfig
from router.gateway.dashboard import changes, requests, routing, traffic
from router.gateway.dashboard.assets import HEADERS
from router.gateway.dashboard.budgets import MOST, budgets
from router.gateway.dashboard.sample import SURFACES
from router.gateway.endpoints.keyed import Entry
from router.gateway.endpoints.operator.access import check_operator
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.totals import DAY_S
from router.store.state.protocol import StateError, StateStore

if TYPE_CHECKING:
    from router.analysis.gaps import Gaps

_JSON = "application/json"
_HEADERS = {**HEADERS, "cache-control": "no-store"}
_HOUR_S = 3600.0
_LONGEST_S = 400 * 24 * _HOUR_S
_MOST_ROWS = 500
_LEAST_FACTOR = 0.01
_LIVE_EVERY_S = 2.0
_MOST_LIVE = 16
_RETRY_AFTER_S = 5.0

Result = TypeVar("Result")


class Dashboard:
    """Handlers of `/dashboard/api/…`. `open_records` opens the records, None where the gateway keeps none; `setup` and
    `cards` describe the configuration, and `live` is the state of this moment; `decide` is the dry run, `drift` are the
    alarms about cards, `nightly_gaps` the gaps that were found last night (None for none yet), and `state` has what
    keys have spent.
    """

    def __init__(
        self,
        open_records: Callable[[], RecordStore | None] | None,
        setup: Callable[[], dict[str, Any]],
        cards: Callable[[], dict[str, Any]],
        live: Callable[[], dict[str, Any]],
        decide: Callable[[Request, Entry], Awaitable[Response]],
        drift: Callable[[], dict[str, Any]],
        nightly_gaps: Callable[[], Gaps | None],
        state: StateStore,
    ) -> None:
        self._open_records, self._setup, self._cards = open_records, setup, cards
        self._live, self._decide, self._drift = live, decide, drift
        self._nightly_gaps, self._state = nightly_gaps, state
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

    async def budgets(self, _: Request, entry: Entry) -> Response:
        """`GET budgets`: what keys with a budget have spent today; of very many, those with the most requests today."""
        self._enter(entry)
        now_s = time.time()
        keys = [key for key in entry.request.active.keys if key.budget_usd_per_day is not None]
        if len(keys) > MOST:
            today_s = now_s // DAY_S * DAY_S
            used = await self._read(lambda records: records.totals(["key"], today_s, now_s, SURFACES))
            requests = {str(total.group[0]): total.requests for total in used}
            keys = sorted(keys, key=lambda key: -requests.get(key.id, 0))[:MOST]
        try:
            return _answer({"budgets": await budgets(self._state, keys, now_s)})
        except StateError as error:
            raise BusyError(f"what keys have spent cannot be read now: {error}", _RETRY_AFTER_S) from None

    async def savings(self, http: Request, entry: Entry) -> Response:
        """`GET savings?hours=24`: a sample of the routed requests of the last hours, compared with one card for all."""
        return await self._analysed(http, entry, routing.saved)

    async def routing(self, http: Request, entry: Entry) -> Response:
        """`GET routing?hours=24`: domains, novelty, guard, plans and calibration of a sample of the last hours."""
        return await self._analysed(http, entry, routing.routing)

    async def values(self, http: Request, entry: Entry) -> Response:
        """`GET values?hours=24`: what each card adds to the others, on a sample of the last hours."""
        return await self._analysed(http, entry, routing.values)

    async def drift(self, _: Request, entry: Entry) -> Response:
        """`GET drift`: alarms about cards, and how right the forecasts are."""
        self._enter(entry)
        return _answer(await asyncio.to_thread(self._drift))

    async def days(self, http: Request, entry: Entry) -> Response:
        """`GET days?hours=168`: how the prompts of each day differ from those of the days before."""
        return await self._analysed(http, entry, changes.days)

    async def gaps(self, http: Request, entry: Entry) -> Response:
        """`GET gaps?hours=24`: groups of novel prompts; without `hours`, those of the week before last night."""
        if "hours" in http.query_params:
            return await self._analysed(http, entry, changes.gaps)
        self._enter(entry)
        return _answer(self._nightly_gaps())

    async def what_if(self, http: Request, entry: Entry) -> Response:
        """`GET what-if?hours=24&cost=2`: a sample of the last hours, decided again with cost weighing twice as much."""
        factor = _number(http, "cost", 2.0)
        if not _LEAST_FACTOR <= factor <= 1 / _LEAST_FACTOR:
            raise FieldError("cost", f"must be from {_LEAST_FACTOR:g} to {1 / _LEAST_FACTOR:g}")
        return await self._analysed(http, entry, functools.partial(routing.reweighed, factor=factor))

    async def requests(self, http: Request, entry: Entry) -> Response:
        """`GET requests?limit=50&before=ID&card=…&key=…&errors=1`: the newest requests, newest first.

        With `before`, those that are older than this one; the answer's `before` is what to ask for next.
        """
        self._enter(entry)
        asked = http.query_params
        wanted = Filter(
            card=asked.get("card") or None,
            key=asked.get("key") or None,
            errors=asked.get("errors") == "1",
            routed=asked.get("routed") == "1",
            before=asked.get("before") or None,
        )
        limit = min(math.ceil(_number(http, "limit", 50.0)), _MOST_ROWS)
        found = await self._read(lambda records: _page(records, limit, wanted))
        return _answer({"requests": found, "before": found[-1].id if len(found) == limit else None})

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

    async def _analysed(
        self, http: Request, entry: Entry, analyse: Callable[[RecordStore, float, float, ActiveConfig], object]
    ) -> Response:
        """The result of `analyse` for the records, the beginning and the end of the time, and the configuration."""
        self._enter(entry)
        now_s, active = time.time(), entry.request.active
        since_s = now_s - _hours_s(http)
        return _answer(await self._read(lambda records: analyse(records, since_s, now_s, active)))

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


def _page(records: RecordStore, limit: int, wanted: Filter) -> list[requests.Row]:
    if wanted.before is not None and _found(records, wanted.before, "before").id != wanted.before:
        raise UnknownIdError("before", "must be the whole id of a request")
    return requests.rows(reversed(records.tail(limit, wanted, prompts=False)))


def _one(records: RecordStore, id_: str, active: ActiveConfig, today: datetime.date) -> dict[str, Any]:
    return requests.in_full(_found(records, id_, "id"), records, active, today)


def _found(records: RecordStore, id_: str, field: str) -> Record:
    try:
        return records.find(id_)
    except CallerError as error:
        raise UnknownIdError(field, str(error)) from None


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
