"""What matters to the gateway of a whole response: usage, errors, and whether there is an answer at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from router.formats.json import json_or_none
from router.wire.chat.finish import reason_of

_JSON_WHITESPACE = b" \t\r\n"
_NO_CHOICES = (b"[]", b"null")
# The fields of answers and of other bodies of success, of all protocols.
_ANSWERS = ("choices", "content", "data", "input_tokens", "object", "output")
# What errors have that are sent as a success.
_SAYS_ERROR = ("detail", "message", "msg")
_USUAL_ENDS = frozenset({"stop", "length", "tool_calls"})


class Summary(Struct, frozen=True):
    """What matters of a whole response. `is_error`: it reports an error in place of an answer. `lacks_choices`: it has
    a list of choices without any. `given_up` is the finish reason of a choice that the server did not complete.
    """

    usage: Any = None
    service_tier: Any = None
    is_error: bool = False
    lacks_choices: bool = False
    given_up: str | None = None


class _UsualChoice(Struct):
    finish_reason: str | None = None


class _Usual(Struct):
    """A chat completion as nearly all are. The fields that do not matter are checked and skipped, here as below."""

    choices: Annotated[list[_UsualChoice], Meta(min_length=1)]
    usage: Any = None
    service_tier: Any = None
    error: None = None


class _Choice(Struct):
    finish_reason: Any = None


class _Response(Struct):
    """Any other response."""

    usage: Any = None
    error: Any = None
    service_tier: Any = None
    choices: Raw = Raw(b"")
    content: Raw = Raw(b"")
    data: Raw = Raw(b"")
    input_tokens: Raw = Raw(b"")
    object: Raw = Raw(b"")
    output: Raw = Raw(b"")
    detail: Any = None
    message: Any = None
    msg: Any = None


_PLAIN = ("error", "service_tier", "usage", *_SAYS_ERROR)
_USUAL = msgspec.json.Decoder(_Usual)
_RESPONSE = msgspec.json.Decoder(_Response)
_CHOICES = msgspec.json.Decoder(list[_Choice])


def summary_in(body: bytes) -> Summary | None:
    """The summary of a body; None where it is no JSON object."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    try:
        usual = _USUAL.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _summary_in_any(body, text)
    ends = [choice.finish_reason for choice in usual.choices]
    return Summary(
        usual.usage, usual.service_tier, given_up=None if _USUAL_ENDS.issuperset(ends) else _failure_among(ends)
    )


def summary_of(decoded: Any) -> Summary | None:
    """The summary of a body that has been decoded already; None where it is no object."""
    if not isinstance(decoded, dict):
        return None
    known = {name: decoded[name] for name in _PLAIN if name in decoded}
    # Only whether they are there matters, and that there are no choices.
    answers = {name: Raw(_mark(decoded[name])) for name in _ANSWERS if name in decoded}
    return _summary(_Response(**known, **answers), _ends_of(decoded.get("choices")))


def _summary_in_any(body: bytes, text: str) -> Summary | None:
    try:
        response = _RESPONSE.decode(text)
        return _summary(response, _ends_in(bytes(response.choices)))
    except msgspec.DecodeError:
        # msgspec rejects half of a surrogate pair, which is no reason to reject a response.
        return summary_of(json_or_none(body))
    except (ValueError, RecursionError):
        return None


def _summary(response: _Response, ends: Sequence[Any]) -> Summary:
    return Summary(
        response.usage,
        response.service_tier,
        _is_error(response),
        bytes(response.choices).translate(None, _JSON_WHITESPACE) in _NO_CHOICES,
        _failure_among(ends),
    )


def _is_error(response: _Response) -> bool:
    if response.error:
        return True
    has_answer = any(bytes(getattr(response, name)) not in (b"", b"null") for name in _ANSWERS)
    return not has_answer and any(getattr(response, name) for name in _SAYS_ERROR)


def _ends_in(choices: bytes) -> Sequence[Any]:
    """The finish reasons of choices in JSON; none where these are no choices."""
    try:
        return [choice.finish_reason for choice in _CHOICES.decode(choices)] if choices else ()
    except (msgspec.DecodeError, ValueError):
        return ()


def _ends_of(choices: Any) -> Sequence[Any]:
    """See `_ends_in`, of choices that have been decoded already."""
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return ()
    return [choice.get("finish_reason") for choice in choices]


def _failure_among(ends: Sequence[Any]) -> str | None:
    """The first of these finish reasons that says that the choice was not completed; None where one is no reason."""
    try:
        reasons = [reason_of({"finish_reason": end}) for end in ends]
    except ValueError:
        return None
    return next((reason.word for reason in reasons if reason is not None and reason.is_failure), None)


def _mark(value: Any) -> bytes:
    """A value that is not decoded again, as JSON: what is empty as it is, others as true."""
    return b"[]" if value == [] else b"null" if value is None else b"true"
