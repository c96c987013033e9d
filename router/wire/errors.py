"""Errors as upstreams report them: in the body of a refusal, or in an event of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class ErrorDetails(Struct, frozen=True):
    """The parts of an error that clients may see, each None where the upstream left it out.

    `status` is an HTTP status that stands in place of a code.
    """

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    status: int | None = None


def error_in(body: Any) -> ErrorDetails:
    """The error in the decoded body of a refusal, in any protocol; without parts where there is none."""
    return _details(body.get("error", body)) if isinstance(body, Mapping) else ErrorDetails()


def error_in_event(event: Mapping[str, Any], *, at_start: bool) -> ErrorDetails | None:
    """The error that a decoded stream event reports, or None.

    `at_start` is whether no content has been shown yet. After that, a Responses stream reports its failure to the
    client by itself, in its last event.
    """
    error, response = event.get("error"), event.get("response")
    if event.get("type") == "error":
        error = error or event
    elif event.get("type") == "response.failed" and at_start and isinstance(response, Mapping):
        error = response.get("error") or response
    return _details(error) if error else None


def _details(error: Any) -> ErrorDetails:
    if isinstance(error, str) and error:
        return ErrorDetails(message=error)
    if not isinstance(error, Mapping):
        return ErrorDetails()
    code = error.get("code", error.get("status"))
    return ErrorDetails(
        message=_word(error.get("message")) or _word(error.get("detail")),
        type=_word(error.get("type")),
        code=_word(error.get("code")),
        param=_word(error.get("param")),
        status=code if isinstance(code, int) and 400 <= code < 600 else None,
    )


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
