"""What matters to the gateway of a whole response: usage, errors, and whether there is an answer at all."""

from __future__ import annotations

from typing import Any

import msgspec

from router.formats.json import json_or_none
from router.wire.chat.finish import reason_of

_JSON_WHITESPACE = b" \t\r\n"
_NO_CHOICES = (b"[]", b"null")
# The fields of answers and of other bodies of success, of all protocols.
_ANSWERS = ("choices", "content", "data", "input_tokens", "object", "output")
# What errors have that are sent as a success.
_SAYS_ERROR = ("detail", "message", "msg")


class _Choice(msgspec.Struct):
    finish_reason: Any = None


class Summary(msgspec.Struct):
    """The fields of a whole response that matter to the gateway; the others are checked and skipped."""

    usage: Any = None
    error: Any = None
    service_tier: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"")
    content: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    input_tokens: msgspec.Raw = msgspec.Raw(b"")
    object: msgspec.Raw = msgspec.Raw(b"")
    output: msgspec.Raw = msgspec.Raw(b"")
    detail: Any = None
    message: Any = None
    msg: Any = None

    @property
    def is_error(self) -> bool:
        """Whether the response reports an error in place of an answer."""
        if self.error:
            return True
        has_answer = any(bytes(getattr(self, name)) not in (b"", b"null") for name in _ANSWERS)
        return not has_answer and any(getattr(self, name) for name in _SAYS_ERROR)

    @property
    def lacks_choices(self) -> bool:
        """Whether the response has a list of choices without any."""
        return bytes(self.choices).translate(None, _JSON_WHITESPACE) in _NO_CHOICES

    @property
    def given_up(self) -> str | None:
        """The finish reason of a choice that the server did not complete."""
        if not bytes(self.choices):
            return None
        try:
            reasons = [reason_of({"finish_reason": choice.finish_reason}) for choice in _CHOICES.decode(self.choices)]
        except (msgspec.DecodeError, ValueError):
            return None
        return next((reason.word for reason in reasons if reason is not None and reason.is_failure), None)


_PLAIN = ("error", "service_tier", "usage", *_SAYS_ERROR)
_SUMMARY = msgspec.json.Decoder(Summary)
_CHOICES = msgspec.json.Decoder(list[_Choice])


def summary_in(body: bytes) -> Summary | None:
    """The summary of a body; None where it is no JSON object."""
    try:
        return _SUMMARY.decode(body.decode())
    except msgspec.DecodeError:
        # msgspec rejects half of a surrogate pair, which is no reason to reject a response.
        return summary_of(json_or_none(body))
    except (ValueError, RecursionError):
        return None


def summary_of(decoded: Any) -> Summary | None:
    """The summary of a body that has been decoded already; None where it is no object."""
    if not isinstance(decoded, dict):
        return None
    known = {name: decoded[name] for name in _PLAIN if name in decoded}
    # Only whether they are there matters, and that there are no choices.
    answers = {name: msgspec.Raw(_mark(decoded[name])) for name in _ANSWERS if name in decoded}
    return Summary(**known, **answers)


def _mark(value: Any) -> bytes:
    """A value that is not decoded again, as JSON: what is empty as it is, others as true."""
    return b"[]" if value == [] else b"null" if value is None else b"true"
