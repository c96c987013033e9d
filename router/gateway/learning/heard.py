"""Answers that graders judge: kept as they pass, and read off the path of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.compose.validators import schema_asked
from router.decide.policy import Grader, JudgeGrader
from router.errors import PulvinarError, UpstreamError
from router.formats.json import json_or_none
from router.learn.online.graders import judge
from router.learn.online.outcomes import JudgedAnswer
from router.pipeline import Routed
from router.store.records.record import Record
from router.types import Api
from router.wire.reading.whole_answers import WholeAnswer, read_whole_answer
from router.wire.streams.collected import collected

_MAX_BYTES = 64 * 1024
UNREADABLE = (
    *(PulvinarError, OSError, ValueError, TypeError, LookupError),
    *(ArithmeticError, AttributeError, RuntimeError),
)
"""What a record or an answer may cause that is not as expected. None of it may end a task."""


class Heard:
    """The answer to one request, where its policy has graders, or it `is_wanted` for a comparison; nothing is kept of
    others, nor of long answers. `record` is that of the request, once it is known.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.graders: tuple[Grader, ...] = ()
        self.pieces: list[bytes] = []
        self.routed: Routed | None = None
        self.is_wanted = False
        self.record: Record | None = None
        self._bytes = 0

    def add(self, piece: bytes, routed: Routed) -> None:
        """Keep a whole body, or whole events."""
        graders = () if routed.policy.learning == "off" else routed.policy.graders
        if not (graders or self.is_wanted):
            return
        self._bytes += len(piece)
        if self._bytes > _MAX_BYTES:
            self.graders, self.pieces = (), []
            return
        self.graders, self.routed = graders, routed
        self.pieces.append(piece)


def graded(record: Record, heard: Heard) -> list[JudgedAnswer]:
    """What the graders of the policy say about the answer."""
    answer = answer_in(record, heard)
    if answer is None or heard.routed is None:
        return []
    request = heard.routed.request
    prompt = request.human_turns[-1] if request.human_turns else ""
    schema = schema_asked(request.body)
    found = (judge(grader, answer, prompt, schema) for grader in heard.graders if not isinstance(grader, JudgeGrader))
    return [each for each in found if each is not None]


def answer_in(record: Record, heard: Heard) -> WholeAnswer | None:
    """The answer; None where it is none that can be read, as from a server that sends nonsense."""
    document = document_of(record, heard)
    return None if document is None else read_whole_answer(heard.api, document)


def document_of(record: Record, heard: Heard) -> Mapping[str, Any] | None:
    """The answer as a decoded document of its protocol; None where it is none, such as a stream that broke off."""
    try:
        raw = heard.pieces
        document = collected(heard.api, raw) if record.stream else json_or_none(b"".join(raw))
    except UpstreamError:
        return None
    return document if isinstance(document, Mapping) else None
