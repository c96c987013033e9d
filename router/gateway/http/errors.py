"""Errors as HTTP responses: whose fault an error is decides its status."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from starlette.exceptions import HTTPException

from router.dispatch import UpstreamResponse
from router.dispatch.response import fault_in
from router.errors import (
    BudgetError,
    BusyError,
    CallerError,
    ConfigurationError,
    ConflictError,
    FieldError,
    FlagError,
    InvalidKeyError,
    NoCandidateError,
    PermissionDeniedError,
    PromptFlagError,
    PulvinarError,
    RateLimitError,
    UnknownIdError,
    UnknownModelError,
    UpstreamError,
)
from router.store.state.protocol import StateError

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
_CALLER_CODES: Mapping[type[PulvinarError], str] = {
    FlagError: "invalid_flag",
    NoCandidateError: "no_candidate",
    PromptFlagError: "no_candidate",
}
_MAX_SHOWN_CHARACTERS = 60
_STATE_RETRY_S = 2.0


class TooLargeError(CallerError):
    """The body is larger than the configured limit."""

    def __init__(self, limit_bytes: int) -> None:
        size = f"{limit_bytes / 2**20:g} MiB" if limit_bytes >= 2**20 else f"{limit_bytes} bytes"
        super().__init__(f"the body is larger than {size}")


class SlowBodyError(CallerError):
    """The body takes too long to arrive."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")


class UnsupportedCodingError(CallerError):
    """The body has a coding that the gateway does not decode; `accepted` are those that it does."""

    def __init__(self, coding: str, accepted: tuple[str, ...]) -> None:
        self.accepted = accepted
        shown = coding[:_MAX_SHOWN_CHARACTERS]
        super().__init__(f'the Content-Encoding "{shown}" is not supported; send one of {", ".join(accepted)}, or none')


class ErrorResponse(Struct, frozen=True):
    """An error for a client, in any protocol. `kind` and `code` are OpenAI's terms."""

    status: int
    message: str
    kind: str
    code: str | None
    param: str | None = None
    headers: Mapping[str, str] = {}


def error_response(error: PulvinarError) -> ErrorResponse:
    """The response to a request that ended with `error`."""
    for kind, make in _RESPONSES.items():
        if isinstance(error, kind):
            return make(error, str(error))
    raise error


def _for_caller(error: Any, message: str) -> ErrorResponse:
    code = _CALLER_CODES.get(type(error), "invalid_request")
    param = error.param if isinstance(error, FieldError) else None
    return ErrorResponse(400, message, "invalid_request_error", code, param)


def _for_budget(error: Any, message: str) -> ErrorResponse:
    if not error.is_spent:
        return _for_rate_limit(error, message)
    # Clients would retry at once, and be rejected until the day is over.
    headers = _retry_after(error.retry_after_s, should_retry=False)
    return ErrorResponse(429, message, "insufficient_quota", "insufficient_quota", None, headers)


def _for_busy(error: Any, message: str) -> ErrorResponse:
    code = "rate_limit_exceeded" if error.status == 429 else "overloaded"
    return ErrorResponse(error.status, message, "overloaded_error", code, None, _retry_after(error.retry_after_s))


def _for_upstream(error: Any, message: str) -> ErrorResponse:
    code = {504: "upstream_timeout", 502: "upstream_unreachable"}.get(error.status, str(error.status))
    return ErrorResponse(error.status, message, "upstream_error", code)


def _for_rate_limit(error: Any, message: str) -> ErrorResponse:
    return ErrorResponse(429, message, "requests", "rate_limit_exceeded", None, _retry_after(error.retry_after_s))


def _for_coding(error: Any, message: str) -> ErrorResponse:
    headers = {"accept-encoding": ", ".join(error.accepted)}
    return ErrorResponse(415, message, "invalid_request_error", "unsupported_content_encoding", None, headers)


def _for_configuration(_: Any, message: str) -> ErrorResponse:
    # Clients retry a 503 twice, and no retry sets a variable.
    return ErrorResponse(503, message, "configuration_error", "not_configured", None, {"x-should-retry": "false"})


def _for_state(_: Any, message: str) -> ErrorResponse:
    return ErrorResponse(503, message, "overloaded_error", "state_unavailable", None, _retry_after(_STATE_RETRY_S))


def _for_permission(_: Any, message: str) -> ErrorResponse:
    return ErrorResponse(403, message, "permission_error", "permission_denied")


def _for_unknown_id(error: Any, message: str) -> ErrorResponse:
    return ErrorResponse(404, message, "invalid_request_error", "not_found", error.param)


def _rejection(status: int, code: str, param: str | None = None) -> Callable[[Any, str], ErrorResponse]:
    return lambda _, message: ErrorResponse(status, message, "invalid_request_error", code, param)


# The first class that matches: the special ones before the general.
_RESPONSES: Mapping[type[PulvinarError], Callable[[Any, str], ErrorResponse]] = {
    InvalidKeyError: _rejection(401, "invalid_api_key"),
    BudgetError: _for_budget,
    PermissionDeniedError: _for_permission,
    UnknownIdError: _for_unknown_id,
    RateLimitError: _for_rate_limit,
    UnknownModelError: _rejection(404, "model_not_found", "model"),
    ConflictError: _rejection(409, "conflict"),
    TooLargeError: _rejection(413, "request_too_large"),
    UnsupportedCodingError: _for_coding,
    SlowBodyError: _rejection(408, "request_timeout"),
    CallerError: _for_caller,
    StateError: _for_state,
    ConfigurationError: _for_configuration,
    BusyError: _for_busy,
    UpstreamError: _for_upstream,
}


def http_error_response(error: HTTPException, method: str, path: str) -> ErrorResponse:
    """The response to an unknown path, a wrong method or a body that is too large."""
    message = error.detail
    if error.status_code == 404:
        message = f"unknown path {path}"
    elif error.status_code == 405:
        message = f"{method} is not allowed at {path}"
    code = _HTTP_CODES.get(error.status_code)
    return ErrorResponse(error.status_code, message, "invalid_request_error", code, None, dict(error.headers or {}))


def upstream_error_response(response: UpstreamResponse) -> ErrorResponse:
    """An upstream's error for the client, with the upstream's own message where it has one that clients may see."""
    fault, upstream = fault_in(response), f'the upstream of the card "{response.card.id}"'
    refusal, status = fault.meaning.refusal, fault.client_status
    if refusal:
        message = f"{upstream} {refusal} (HTTP {fault.status}); the operator's log and `route doctor` name the key"
        code = f"upstream_{fault.kind}"
        return ErrorResponse(status, message, "upstream_error", code, None, {"x-should-retry": "false"})
    error = fault.details
    headers = {name: value for name, value in response.headers.items() if name != "content-type"}
    return ErrorResponse(
        status,
        error.message or f"{upstream} answered HTTP {fault.status}",
        error.type or "upstream_error",
        error.code or str(fault.status),
        error.param,
        headers,
    )


def _retry_after(seconds: float, should_retry: bool = True) -> dict[str, str]:
    headers = {"retry-after": str(max(math.ceil(seconds), 1))}
    return headers if should_retry else {**headers, "x-should-retry": "false"}
