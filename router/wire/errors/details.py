"""Read the errors of upstreams, in the body of a response or in an event of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import encodable

# The fields that may contain the error, or its message: the first of each that says something counts.
_ENVELOPES = ("error", "errors", "Error", "base_resp", "fault", "exception")
_MESSAGES = ("message", "msg", "error_message", "error_msg", "status_msg", "errorMessage", "Message", "description")
_TYPES, _CODES = ("type", "__type", "error_type"), ("code", "error_code")
# What a proxy quotes of the server behind it: the text of the answer, which may be JSON.
_QUOTED = ("raw",)
# Fields that repeat the request, in which any words may occur.
_ECHOES = frozenset(
    {"input", "ctx", "request", "body", "failed_generation", "flagged_input", "doc_url", "url", "documentation_url"}
)
# What a response answers with, in any protocol; one with an error has none of them.
_ANSWERS = ("choices", "content", "output", "data", "results", "embeddings", "embedding")
# The fields by which servers state beside HTTP's status whether they succeeded, and their words for that.
_STATES = ("success", "code", "error_code", "errcode", "errorCode", "status_code")
_SUCCESSES = (None, True, 0, 200, "", "0", "200", "ok", "OK", "success", "SUCCESS", "Success")
_MAX_TEXT_CHARACTERS, _MAX_DEPTH, _MAX_MESSAGE_CHARACTERS = 2_000, 12, 2_000


_PAGE = re.compile(r"\s*<[!?A-Za-z]")


class ErrorDetails(Struct, frozen=True):
    """The parts of an error that clients may see; a part that the upstream omits is None.

    `status` is an HTTP status that the upstream sent as the error's code.
    """

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


_NOTHING = ErrorDetails()


def error_in(body: Any) -> ErrorDetails:
    """The error in the body of an error response of any server: decoded JSON, or text. Without parts where there is
    none, and where the text is a web page.
    """
    return _details(body, _MAX_DEPTH)


def error_of_event(event: Mapping[str, Any], *, at_start: bool) -> Any:
    """The error in a decoded stream event, as the upstream sent it; None or empty where there is none.

    `at_start`: no content has been sent to the client yet. Later, the failure of a Responses stream is no error here,
    since the last event of the stream reports it to the client.
    """
    error, response = event.get("error"), event.get("response")
    if event.get("type") == "error":
        error = error or event
    elif event.get("type") == "response.failed" and at_start and isinstance(response, Mapping):
        error = response.get("error") or response
    return error


def is_error_body(body: Any) -> bool:
    """Whether the decoded body of a response whose status is a success reports an error."""
    if isinstance(body, list):
        return bool(body) and is_error_body(body[0])
    if not isinstance(body, Mapping) or any(body.get(name) for name in _ANSWERS):
        return False
    state = body.get("base_resp")
    if body.get("error") or body.get("errors"):
        return True
    if isinstance(state, Mapping):
        return state.get("status_code") not in (None, 0)
    return _states_failure(body) and error_in(body).message is not None


def _states_failure(body: Mapping[str, Any]) -> bool:
    stated = [body.get(name) for name in _STATES]
    words = (state for state in stated if not isinstance(state, Mapping | list))
    return "detail" in body or any(state is False or state not in _SUCCESSES for state in words)


def words_in(body: Any) -> str:
    """All that the error says, `field: value` a line, without what it repeats of the request. Empty for a web page."""
    lines: list[str] = []
    size = 0
    for line in _lines(body, "", _MAX_DEPTH):
        lines.append(line)
        size += len(line)
        if size > _MAX_TEXT_CHARACTERS:
            break
    return "\n".join(lines)[:_MAX_TEXT_CHARACTERS]


def _details(error: Any, depth: int) -> ErrorDetails:
    if depth == 0:
        return _NOTHING
    if isinstance(error, str):
        return _in_text(error, depth)
    if isinstance(error, list):
        each = (_details(item, depth - 1) for item in error)
        return next((details for details in each if details != _NOTHING), _NOTHING)
    if not isinstance(error, Mapping):
        return _NOTHING
    message = _first(error, _MESSAGES)
    for name in (*_ENVELOPES, *(() if message else ("detail",))):
        inner = error.get(name)
        # Beside a message, a text such as "Bad Request" only names the status.
        if inner and not (message and isinstance(inner, str)) and (found := _details(inner, depth - 1)) != _NOTHING:
            return found
    quoted = _quoted(error.get("metadata"), depth)
    nested = _in_text(message, depth) if message else _NOTHING
    code = error.get("code", error.get("status"))
    return ErrorDetails(
        message=f"{message}: {quoted}" if quoted and message else nested.message or message,
        type=_first(error, _TYPES) or nested.type,
        code=_first(error, _CODES) or _text(None if isinstance(code, int) else code) or nested.code,
        param=_param(error) or nested.param,
        status=code if isinstance(code, int) and 400 <= code < 600 else nested.status,
    )


def _in_text(text: str, depth: int) -> ErrorDetails:
    """The error in a text, which may contain the JSON of another server's error, such as a proxy quotes it."""
    embedded = _embedded(text)
    if embedded is not None and (details := _details(embedded[1], depth - 1)).message:
        return details
    if not text.strip() or _PAGE.match(text):
        return _NOTHING
    return ErrorDetails(message=encodable(text[:_MAX_MESSAGE_CHARACTERS]))


def _embedded(text: str) -> tuple[str, Any] | None:
    """The words before the first JSON object or list of a text, and its value; None where there is none."""
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    if start < 0:
        return None
    try:
        return text[:start], json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _quoted(metadata: Any, depth: int) -> str | None:
    if not isinstance(metadata, Mapping):
        return None
    return next((_details(metadata[name], depth - 1).message for name in _QUOTED if metadata.get(name)), None)


def _lines(value: Any, name: str, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _ECHOES:
                yield from _lines(inner, str(key), depth - 1)
    elif isinstance(value, list):
        for inner in value[:20]:
            yield from _lines(inner, name, depth - 1)
    elif isinstance(value, str) and value and not _PAGE.match(value):
        text, inner = _embedded(value) or (value, None)
        yield f"{name}: {text}" if name else text
        yield from _lines(inner, "", depth - 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield f"{name}: {value}"


def _first(error: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next(filter(None, (_text(error.get(name)) for name in names)), None)


def _param(error: Mapping[str, Any]) -> str | None:
    place = error.get("loc")
    if isinstance(place, list):
        return ".".join(str(part) for part in place if part != "body") or None
    return _text(error.get("param"))


def _text(value: Any) -> str | None:
    known = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return encodable(str(value)) if known else None
