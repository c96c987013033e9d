"""Errors of upstreams, in the body of a response or in an event of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import encodable


class ErrorDetails(Struct, frozen=True):
    """The parts of an error that clients may see; a part that the upstream omits is None.

    `status` is an HTTP status that the upstream sent as the error's code.
    """

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


def error_in(body: Any) -> ErrorDetails:
    """The error in the decoded body of an error response of any protocol; without parts where there is none."""
    return _details(body.get("error", body)) if isinstance(body, Mapping) else ErrorDetails()


def error_in_event(event: Mapping[str, Any], *, at_start: bool) -> ErrorDetails | None:
    """The error in a decoded stream event, or None.

    `at_start`: no content has been sent to the client yet. Later, the failure of a Responses stream is no error here,
    since the last event of the stream reports it to the client.
    """
    error, response = event.get("error"), event.get("response")
    if event.get("type") == "error":
        error = error or event
    elif event.get("type") == "response.failed" and at_start and isinstance(response, Mapping):
        error = response.get("error") or response
    return _details(error) if error else None


def _details(error: Any) -> ErrorDetails:
    if isinstance(error, str) and error:
        return ErrorDetails(message=encodable(error))
    if not isinstance(error, Mapping):
        return ErrorDetails()
    code = error.get("code", error.get("status"))
    return ErrorDetails(
        message=_text(error.get("message")) or _text(error.get("detail")),
        type=_text(error.get("type")),
        code=_text(error.get("code")),
        param=_text(error.get("param")),
        status=code if isinstance(code, int) and 400 <= code < 600 else None,
    )


def _text(value: Any) -> str | None:
    known = isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    return encodable(str(value)) if known else None
