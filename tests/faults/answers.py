"""Error answers that one server gives and another would not: the faults of the matrix that are a status and a body."""

from __future__ import annotations

from typing import Any


def _openai(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}


def _anthropic(message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


ANSWERS: dict[str, tuple[int, Any]] = {
    "no-credit": (400, _anthropic("Your credit balance is too low to access the API.")),
    "no-credit-in-200": (200, _openai("Insufficient Balance", type="unknown_error")),
    "bad-key-400": (400, [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}]),
    "bad-key-401": (401, _anthropic("invalid x-api-key", "authentication_error")),
    "bad-key-403": (403, _openai("forbidden")),
    "quota": (429, {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}),
    "no-tools": (400, _openai("model x does not support tools")),
    "no-parameter": (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs"}]}),
    "template": (400, {"object": "error", "message": "System message must be at the beginning.", "code": 400}),
    "too-long-openai": (400, _openai("too long", code="context_length_exceeded")),
    "too-long-vllm": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens."}),
    "too-long-llamacpp": (400, {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error"}}),
    "too-long-anthropic": (400, _anthropic("prompt is too long: 208310 tokens > 200000 maximum")),
    "too-long-gemini": (400, [_openai("The input token count (9) exceeds the maximum number of tokens allowed (8).")]),
    "unknown-400": (400, _openai("the flux is inverted")),
}
"""The HTTP status and the decoded body by the name of the fault."""
