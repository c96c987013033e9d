"""`POST /v1/feedback`: how good the answer to an earlier request was."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from router.errors import BusyError, ConfigurationError, FieldError, FileError, UnknownIdError
from router.gateway.endpoints.apidoc.schemas import FeedbackAnswer, FeedbackBody
from router.gateway.endpoints.keyed import Entry
from router.store.records.feedback import JUDGE, OPERATOR, Feedback, FeedbackStore, Stored, value_of

_LOG = logging.getLogger(__name__)
_JSON = "application/json"
# A record is in the database a moment after its answer.
_LOOKS, _PAUSE_S = 4, 0.3
_MAX_AT_ONCE = 4
_RETRY_AFTER_S = 5.0


class FeedbackHandler:
    """Stores feedback through `open_store`, None where the gateway has no records. `on_stored` gets what is new."""

    def __init__(self, open_store: Callable[[], FeedbackStore] | None, on_stored: Callable[[Stored], None]) -> None:
        self._open_store, self._on_stored = open_store, on_stored
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)

    async def __call__(self, http: Request, entry: Entry) -> Response:
        """Store the feedback of the body, about a request of the same key."""
        feedback = _feedback_in(await entry.read_body(http), entry)
        if self._open_store is None or not entry.request.active.config.records.enabled:
            raise ConfigurationError("this gateway keeps no records, so feedback has nothing to refer to")
        stored = await self._stored(feedback, self._open_store)
        if stored.is_new:
            self._on_stored(stored)
        answer = FeedbackAnswer(feedback.record, feedback.source, stored.feedback.value, stored.is_new)
        return Response(msgspec.json.encode(answer), media_type=_JSON)

    async def _stored(self, feedback: Feedback, open_store: Callable[[], FeedbackStore]) -> Stored:
        for look in range(_LOOKS):
            try:
                async with self._turns:
                    return await asyncio.to_thread(_add, open_store, feedback)
            except UnknownIdError:
                if look == _LOOKS - 1:
                    raise
                await asyncio.sleep(_PAUSE_S)
        raise AssertionError("the last look neither returned nor raised")


def _add(open_store: Callable[[], FeedbackStore], feedback: Feedback) -> Stored:
    try:
        with open_store() as store:
            return store.add(feedback)
    except FileError as error:
        _LOG.error("feedback cannot be stored: %s", error)
        raise BusyError("feedback cannot be stored at the moment; try again soon", _RETRY_AFTER_S) from None


def _feedback_in(body: object, entry: Entry) -> Feedback:
    """The feedback in a body. Raises FieldError."""
    try:
        given = msgspec.convert(body, FeedbackBody)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise FieldError(place.strip("`.").partition("[")[0] or "body", problem) from None
    if given.source == OPERATOR and not entry.request.active.keys.may_operate(entry.request.key):
        problem = f'is "{OPERATOR}", which only a key with `operator: true` may state; name who judged'
        raise FieldError("source", problem)
    if given.source == JUDGE:
        raise FieldError("source", f'is "{JUDGE}", which stands for the cards that judge answers; name who judged')
    value = value_of(given.value, given.verdict)
    return Feedback(
        given.id,
        value,
        time.time(),
        given.source,
        given.verdict,
        given.comment,
        None if entry.request.key is None else entry.request.key.id,
        given.idempotency_key,
    )
