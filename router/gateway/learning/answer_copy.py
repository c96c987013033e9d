"""Answers that are judged, or show something by themselves: kept as they pass, and read off the path of requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from router.compose.validators import begins_as_refusal, schema_asked
from router.decide.policy import Grader, JsonSchemaGrader, JudgeGrader
from router.errors import PulvinarError, UpstreamError
from router.formats.json import json_or_none
from router.learn.online.graders import judge
from router.learn.online.outcomes import JudgedAnswer
from router.learn.online.signals import Signal, signal_in
from router.pipeline import Routed
from router.store.records.record import Record
from router.types import Api
from router.wire.reading.whole_answers import WholeAnswer, read_whole_answer
from router.wire.streams.collected import collected

_MAX_BYTES, _MAX_BYTES_OF_REFUSAL = 64 * 1024, 32 * 1024
_BEGINNING_PIECES, _BEGINNING_BYTES, _BEGINNING_LENGTH = 40, 8 * 1024, 40
# The texts of answers and events of every protocol.
_TEXT_FOLLOWS = rb'"(?:content|text|delta|response)"\s*:\s*"'
_TEXT = re.compile(_TEXT_FOLLOWS + rb'([^"\\]*+(?:\\.[^"\\]*+)*+)"')
# The beginning of the first text, where that is enough to see that it is none of a refusal. Most answers end here.
_BEGINNING = re.compile(_TEXT_FOLLOWS + rb'([^\w"\\]{0,20}\w[^"\\]{40})?')
UNREADABLE = (
    *(PulvinarError, OSError, ValueError, TypeError, LookupError),
    *(ArithmeticError, AttributeError, RuntimeError),
)
"""What a record or an answer may cause that is not as expected. None of it may end a task."""


class AnswerCopy:
    """The answer to one routed request whose policy learns, or that `is_wanted` for a comparison; nothing is kept of
    long answers, nor where nobody reads them. `record` is that of the request, once it is known.
    """

    def __init__(self, api: Api, routed: Routed, *, is_wanted: bool = False) -> None:
        self.api, self.routed, self.is_wanted = api, routed, is_wanted
        self.graders: tuple[Grader, ...] = ()
        self.schema: Mapping[str, Any] | None = None
        self.pieces: list[bytes] = []
        self.record: Record | None = None
        self._bytes, self._most_bytes = 0, _MAX_BYTES if is_wanted else 0
        if routed.policy.learning != "off":
            self.graders, self.schema = routed.policy.graders, schema_asked(routed.request.body)
            is_read = is_wanted or self.graders or self.schema is not None
            self._most_bytes = _MAX_BYTES if is_read else _MAX_BYTES_OF_REFUSAL

    def add(self, piece: bytes) -> None:
        """Keep a whole body, or whole events."""
        self._bytes += len(piece)
        if self._bytes <= self._most_bytes:
            self.pieces.append(piece)
        else:
            self.pieces = []

    @property
    def is_worth_reading(self) -> bool:
        """Whether somebody judges the answer, or it may show something by itself."""
        if self.routed.policy.learning == "off":
            return False
        return bool(self.pieces) and (bool(self.graders) or self.schema is not None or self._may_refuse())

    def _may_refuse(self) -> bool:
        """Whether the text begins as refusals do, found without reading the whole answer."""
        pieces = b"".join(self.pieces[:_BEGINNING_PIECES])
        first = _BEGINNING.search(pieces, 0, _BEGINNING_BYTES)
        if first is None or (first[1] and not begins_as_refusal(first[1].decode("utf-8", "replace"))):
            return False
        text = bytearray()
        for found in _TEXT.finditer(pieces, 0, _BEGINNING_BYTES):
            text += found[1]
            if len(text) >= _BEGINNING_LENGTH:
                break
        return begins_as_refusal(text.decode("utf-8", "replace").replace("\\u2019", "'"))


class Reading(NamedTuple):
    """What was read of an answer: what graders say, what it shows by itself, and whether it was to meet a schema."""

    judged: list[JudgedAnswer]
    signal: Signal | None = None
    has_schema: bool = False


def read(record: Record, copy: AnswerCopy) -> Reading:
    """What the code that grades for the policy says about the answer, and what it shows by itself."""
    answer = answer_in(record, copy)
    if answer is None:
        return Reading([])
    request, schema = copy.routed.request, copy.schema
    prompt = request.human_turns[-1] if request.human_turns else ""
    found = (judge(each, answer, prompt, schema) for each in copy.graders if not isinstance(each, JudgeGrader))
    # A grader's judgement says the same, with more weight.
    is_graded = any(isinstance(each, JsonSchemaGrader) for each in copy.graders)
    signal = signal_in(answer, None if is_graded else schema)
    return Reading([each for each in found if each is not None], signal, schema is not None and not is_graded)


def answer_in(record: Record, copy: AnswerCopy) -> WholeAnswer | None:
    """The answer; None where it is none that can be read, as from a server that sends nonsense."""
    document = document_of(record, copy)
    return None if document is None else read_whole_answer(copy.api, document)


def document_of(record: Record, copy: AnswerCopy) -> Mapping[str, Any] | None:
    """The answer as a decoded document of its protocol; None where it is none, such as a stream that broke off."""
    try:
        raw = copy.pieces
        document = collected(copy.api, raw) if record.stream else json_or_none(b"".join(raw))
    except UpstreamError:
        return None
    return document if isinstance(document, Mapping) else None
