"""Feedback: how good the answer to a recorded request was, from whoever can judge it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol, Self

from msgspec import Meta, Struct

from router.errors import ConflictError, FieldError, UnknownIdError, excerpt

Verdict = Literal["good", "mixed", "bad"]
Source = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Comment = Annotated[str, Meta(max_length=2000)]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=200)]
Value = Annotated[float, Meta(ge=0, le=1)]
Propensity = Annotated[float, Meta(gt=0, le=1)]

VALUES: dict[Verdict, float] = {"good": 1.0, "mixed": 0.5, "bad": 0.0}
"""What each verdict means as a value in [0, 1]."""
MAX_SOURCES = 16
"""How many sources may judge one answer, beside the operator."""
OPERATOR = "operator"
"""The source of the operator's own judgement, which no client may state."""
JUDGE = "judge"
"""The verdict of a card that a policy lets judge answers has the source `judge:CARD`, which no client can state. The
word alone was the source of all of them once; clients may not state it, either.
"""


class Feedback(Struct, frozen=True, omit_defaults=True):
    """How good one source found the answer to the request `record` (its id): `value` is in [0, 1], 1 for right.

    `at` is in seconds since 1970. `verdict` is the word that was given in place of a value. `key` is the id of the key
    that gave it, None for the operator and for a gateway without keys. `propensity` is the probability with which this
    answer was drawn to be judged, None where nobody drew it.
    """

    record: str
    value: Value
    at: float
    source: Source = "client"
    verdict: Verdict | None = None
    comment: Comment | None = None
    key: str | None = None
    idempotency_key: IdempotencyKey | None = None
    propensity: Propensity | None = None

    def says_the_same(self, other: Feedback) -> bool:
        """Whether both are the same judgement of the same answer; when and how they arrived does not count."""
        return (self.record, self.source, self.value, self.comment) == (
            other.record,
            other.source,
            other.value,
            other.comment,
        )


class Stored(Struct, frozen=True):
    """Feedback that is in the store, and the card that it is about. `is_new`: it was not there before."""

    feedback: Feedback
    card: str
    is_new: bool


class FeedbackStore(Protocol):
    """Where feedback is stored, beside the records; `RecordStore` reads it."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Close the connection."""

    def add(self, feedback: Feedback, *, of_any_key: bool = False, waits: bool = False) -> Stored:
        """Store the feedback durably, once for each request and source. New feedback that `waits` is returned by
        `take_waiting`.

        Unless `of_any_key`, the request must be one of the feedback's key, and `MAX_SOURCES` may judge it. Raises
        UnknownIdError where there is no such record, FieldError where no model answered it or too many sources have
        judged it, and ConflictError where the source, or the idempotency key, has been used for a different judgement,
        and DatabaseError.
        """

    def take_waiting(self, limit: int) -> list[Feedback]:
        """Feedback that a gateway is to learn from, oldest first: each is returned once, whoever asks. Raises
        DatabaseError.
        """


def judges_source(card: str) -> str:
    """The source of the verdicts of the card with this id."""
    return f"{JUDGE}:{card}"


def is_of_judge(source: str) -> bool:
    """Whether a card that a policy lets judge answers is the source."""
    return source == JUDGE or source.startswith(f"{JUDGE}:")


def value_of(value: float | None, verdict: Verdict | None) -> float:
    """The value that was given, or that of the verdict. Raises FieldError unless there is exactly one of both."""
    if (value is None) == (verdict is None):
        problem = "or `verdict` must be there, and only one of both: a number from 0 to 1, or good, mixed or bad"
        raise FieldError("value", problem)
    return VALUES[verdict] if verdict is not None else float(value or 0.0)


def meant_record(name: str, found: Sequence[tuple[str, str | None]]) -> tuple[str, str]:
    """The id and the card of the record that a client calls `name`, of the first that may be meant.

    The id of a client's own choice has a suffix in the records. Raises UnknownIdError or FieldError.
    """
    row = next((row for row in found if row[0] == name), found[0] if found else None)
    if row is None:
        # Other keys' requests must look like requests that do not exist.
        problem = f'names no request of this key: "{excerpt(name)}"; send the `x-request-id` of an answer'
        raise UnknownIdError("id", problem)
    if len(found) > 1 and row[0] != name:
        raise FieldError("id", f'is ambiguous: several requests had the id "{excerpt(name)}"')
    if row[1] is None:
        raise FieldError("id", f'names a request that no model answered: "{excerpt(name)}"')
    return row[0], row[1]


def given_before(feedback: Feedback, known: Sequence[Feedback], *, of_any_key: bool) -> Feedback | None:
    """That of `known`, all feedback about the record, which is the same as `feedback`; None where it is new.

    Raises ConflictError where the source has judged differently, FieldError where too many sources have judged.
    """
    earlier = next((each for each in known if each.source == feedback.source), None)
    if earlier is None:
        if len(known) >= MAX_SOURCES and not of_any_key:
            raise FieldError("source", f"would be one too many: {MAX_SOURCES} sources have judged this answer")
    elif not earlier.says_the_same(feedback):
        problem = f'"{feedback.source}" has judged {excerpt(feedback.record)} before, differently'
        raise ConflictError(f"`source` {problem}; each source judges an answer once")
    return earlier


def used_idempotency_key() -> ConflictError:
    """The error for an idempotency key that came with other feedback."""
    return ConflictError("`idempotency_key` was used for other feedback; use a new one")
