"""The surfaces: one for each protocol that clients use, with its way to write an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from router.formats.json import encodable
from router.gateway.http.errors import ErrorResponse
from router.types import Api
from router.wire import CONVERSIONS


class Surface(Struct, frozen=True, eq=False):
    """One protocol. `name` is its label in metrics; `error` writes an error's body, `failure` the event that ends a
    stream with an error. Where `streams` is false, answers are never streamed, even if the client asks for it.
    """

    name: str
    api: Api
    error: Callable[[ErrorResponse], bytes]
    failure: Callable[[ErrorResponse], bytes]
    streams: bool = True

    def is_native_error(self, decoded: Any) -> bool:
        """Whether a decoded error body has this protocol's shape already, so that clients can read it as it is."""
        error = decoded.get("error") if isinstance(decoded, dict) else None
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            return False
        # Clients with typed errors reject the number that some servers send as `code`.
        has_texts = all(isinstance(error.get(name), str | None) for name in ("type", "param", "code"))
        return has_texts and (self.api == "messages") == (decoded.get("type") == "error")


def openai_error(error: ErrorResponse) -> bytes:
    """An error as OpenAI's clients read it. Half of a surrogate pair in the message becomes a question mark."""
    fields = {"message": encodable(error.message), "type": error.kind, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": fields})


def anthropic_error(error: ErrorResponse) -> bytes:
    """An error as Anthropic's clients read it."""
    return CONVERSIONS["messages"].error(error.status, encodable(error.message), error.kind, error.code, error.param)


def error_body(path: str, error: ErrorResponse) -> bytes:
    """An error where no surface has handled the request: in the shape that the clients of `path` read."""
    return (anthropic_error if path.removeprefix("/v1").startswith("/messages") else openai_error)(error)


def _openai_failure(error: ErrorResponse) -> bytes:
    return b"data: " + openai_error(error) + b"\n\n"


def _anthropic_failure(error: ErrorResponse) -> bytes:
    return b"event: error\ndata: " + anthropic_error(error) + b"\n\n"


def _response_failure(error: ErrorResponse) -> bytes:
    fields = {"code": error.code, "message": encodable(error.message), "param": error.param}
    # The protocol has these fields beside `type`; OpenAI's SDK raises only where they are under `error`.
    event = {"type": "error", **fields, "sequence_number": 0, "error": {**fields, "type": error.kind}}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


CHAT = Surface("chat", "chat", openai_error, _openai_failure)
COMPLETIONS = Surface("completions", "completions", openai_error, _openai_failure)
EMBEDDINGS = Surface("embeddings", "embeddings", openai_error, _openai_failure, streams=False)
RESPONSES = Surface("responses", "responses", openai_error, _response_failure)
MESSAGES = Surface("messages", "messages", anthropic_error, _anthropic_failure)
COUNT_TOKENS = Surface("count_tokens", "messages", anthropic_error, _anthropic_failure)
