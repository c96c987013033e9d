"""Errors as answers: whose fault it is gives the status."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException

from router.dispatch import UpstreamResponse
from router.errors import (
    BudgetError,
    BusyError,
    CallerError,
    ConfigurationError,
    FieldError,
    FlagError,
    InvalidKeyError,
    NoCandidateError,
    PulvinarError,
    RateLimitError,
    UnknownModelError,
    UpstreamError,
)

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


class TooLargeError(CallerError):
    """The body is larger than is taken."""

    def __init__(self, most_bytes: int) -> None:
        size = f"{most_bytes / 2**20:g} MiB" if most_bytes >= 2**20 else f"{most_bytes} bytes"
        super().__init__(f"the body is larger than {size}")


class SlowBodyError(CallerError):
    """The body takes too long to arrive."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")


class ErrorResponse(Struct, frozen=True):
    """An error as clients get it, whatever protocol they speak. `kind` and `code` are OpenAI's words."""

    status: int
    message: str
    kind: str
    code: str | None
    param: str | None = None
    headers: Mapping[str, str] = {}


def error_response(error: PulvinarError) -> ErrorResponse:
    """The fault that any of our errors is to a client."""
    for kind, fault in _FAULTS.items():
        if isinstance(error, kind):
            return fault(error, str(error))
    raise error


def _of_caller(error: Any, message: str) -> ErrorResponse:
    code = {FlagError: "invalid_flag", NoCandidateError: "no_candidate"}.get(type(error), "invalid_request")
    return ErrorResponse(
        400, message, "invalid_request_error", code, error.param if isinstance(error, FieldError) else None
    )


def _of_budget(error: Any, message: str) -> ErrorResponse:
    # Clients would ask again at once, and be refused until the day is over.
    return ErrorResponse(
        429, message, "insufficient_quota", "insufficient_quota", None, _later(error.retry_after_s, False)
    )


def _of_busy(error: Any, message: str) -> ErrorResponse:
    code = "rate_limit_exceeded" if error.status == 429 else "overloaded"
    return ErrorResponse(error.status, message, "overloaded_error", code, None, _later(error.retry_after_s))


def _of_upstream(error: Any, message: str) -> ErrorResponse:
    code = {504: "upstream_timeout", 502: "upstream_unreachable"}.get(error.status, str(error.status))
    return ErrorResponse(error.status, message, "upstream_error", code)


# The first that fits: the special before the general.
_FAULTS: Mapping[type[PulvinarError], Callable[[Any, str], ErrorResponse]] = {
    InvalidKeyError: lambda _, message: ErrorResponse(401, message, "invalid_request_error", "invalid_api_key"),
    BudgetError: _of_budget,
    RateLimitError: lambda error, message: ErrorResponse(
        429, message, "requests", "rate_limit_exceeded", None, _later(error.retry_after_s)
    ),
    UnknownModelError: lambda _, message: ErrorResponse(
        404, message, "invalid_request_error", "model_not_found", "model"
    ),
    TooLargeError: lambda _, message: ErrorResponse(413, message, "invalid_request_error", "request_too_large"),
    SlowBodyError: lambda _, message: ErrorResponse(408, message, "invalid_request_error", "request_timeout"),
    CallerError: _of_caller,
    # Clients retry a 503 twice, and no retry sets a variable.
    ConfigurationError: lambda _, message: ErrorResponse(
        503, message, "configuration_error", "not_configured", None, {"x-should-retry": "false"}
    ),
    BusyError: _of_busy,
    UpstreamError: _of_upstream,
}


def http_error_response(error: HTTPException, method: str, path: str) -> ErrorResponse:
    """The fault that an unknown path, a wrong method or a body that is too large is."""
    message = error.detail
    if error.status_code == 404:
        message = f"there is nothing at {path}"
    elif error.status_code == 405:
        message = f"{method} is not allowed at {path}"
    code = _HTTP_CODES.get(error.status_code)
    return ErrorResponse(error.status_code, message, "invalid_request_error", code, None, dict(error.headers or {}))


def upstream_error_response(answer: UpstreamResponse) -> ErrorResponse:
    """The fault in an upstream's error, in the upstream's words where it has any that clients may see."""
    assert isinstance(answer.body, bytes)
    said = decoded(answer.body)
    error = said.get("error", said) if isinstance(said, dict) else None
    did = "refused the gateway's credentials: HTTP" if answer.status in (401, 403) else "answered HTTP"
    message = f'the upstream of the card "{answer.card.id}" {did} {answer.status}'
    kind, code, param = "upstream_error", str(answer.status), None
    if isinstance(error, str) and error:
        message = error
    elif isinstance(error, dict):
        message = _word(error.get("message")) or _word(error.get("detail")) or message
        kind, code = _word(error.get("type")) or kind, _word(error.get("code")) or code
        param = _word(error.get("param"))
    headers = {name: value for name, value in answer.headers.items() if name != "content-type"}
    return ErrorResponse(answer.status, message, kind, code, param, headers)


def decoded(body: bytes) -> Any:
    """The JSON in `body`; None where there is none."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _later(seconds: float, retry: bool = True) -> dict[str, str]:
    headers = {"retry-after": str(max(math.ceil(seconds), 1))}
    return headers if retry else {**headers, "x-should-retry": "false"}
