"""Errors as answers: whose fault it is gives the status."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from router.errors import (
    CallerError,
    ConfigurationError,
    FlagError,
    NoCandidateError,
    PulvinarError,
    UnknownModelError,
    UpstreamError,
)
from router.gateway.openai import FieldError, error_body

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
_CALLER_CODES: dict[type[CallerError], str] = {FlagError: "invalid_flag", NoCandidateError: "no_candidate"}


async def on_our_fault(_: Request, error: Exception) -> Response:
    """The answer to any PulvinarError."""
    message = str(error)
    if isinstance(error, UnknownModelError):
        return _answer(404, error_body(message, "invalid_request_error", "model_not_found", "model"))
    if isinstance(error, CallerError):
        param = error.param if isinstance(error, FieldError) else None
        code = _CALLER_CODES.get(type(error), "invalid_request")
        return _answer(400, error_body(message, "invalid_request_error", code, param))
    if isinstance(error, ConfigurationError):
        # Clients retry a 503 twice, and no retry sets a variable.
        unmendable = {"x-should-retry": "false"}
        return _answer(503, error_body(message, "configuration_error", "not_configured"), unmendable)
    if isinstance(error, UpstreamError):
        code = "upstream_timeout" if error.status == 504 else "upstream_unreachable"
        return _answer(error.status, error_body(message, "upstream_error", code))
    assert isinstance(error, PulvinarError)
    raise error


async def on_http_fault(request: Request, error: Exception) -> Response:
    """The answer to an unknown path, a wrong method or a body that is too large."""
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"there is nothing at {request.scope['path']}"
    elif error.status_code == 405:
        message = f"{request.method} is not allowed at {request.scope['path']}"
    code = _HTTP_CODES.get(error.status_code)
    return _answer(error.status_code, error_body(message, "invalid_request_error", code), error.headers)


def _answer(status: int, body: bytes, headers: object = None) -> Response:
    extra = dict(headers) if isinstance(headers, dict) else {}
    return Response(body, status, {**extra, "content-type": "application/json"})
