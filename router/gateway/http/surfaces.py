"""The surfaces: one for each protocol that clients use, with its way to write an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.formats.json import encodable
from router.gateway.http.errors import ErrorResponse
from router.types import Api
from router.wire import CONVERSIONS
from router.wire.ollama import answer_to_load, prepared

EVENT_STREAM = "text/event-stream"


class Surface(Struct, frozen=True, eq=False):
    """One protocol. `name` is its label in metrics; `error` writes an error's body, `failure` the event that ends a
    stream with an error. Where `streams` is false, answers are never streamed, even if the client asks for it.
    `stream_type` is the content type of a stream. `prepared` gives a body with the protocol's own defaults.
    `immediate` answers a request that asks no model anything; None for every other.
    """

    name: str
    api: Api
    error: Callable[[ErrorResponse], bytes]
    failure: Callable[[ErrorResponse], bytes]
    streams: bool = True
    stream_type: str = EVENT_STREAM
    prepared: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body
    immediate: Callable[[Mapping[str, Any]], bytes | None] = lambda _: None

    def is_native_error(self, decoded: Any) -> bool:
        """Whether a decoded error body has this protocol's shape already, so that clients can read it as it is."""
        error = decoded.get("error") if isinstance(decoded, dict) else None
        if self.api in ("ollama_chat", "ollama_generate"):
            return isinstance(error, str)
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


def ollama_error(error: ErrorResponse) -> bytes:
    """An error as Ollama's clients read it."""
    return CONVERSIONS["ollama_chat"].error(error.status, error.message, error.kind, error.code, error.param)


def error_body(path: str, error: ErrorResponse, *, of_anthropic: bool = False) -> bytes:
    """An error where no surface has handled the request: in the shape that the clients of `path` read.

    `of_anthropic`: the client is one of Anthropic's, whatever the path is.
    """
    if path.startswith("/api/"):
        return ollama_error(error)
    of_anthropic = of_anthropic or path.removeprefix("/v1").startswith("/messages")
    return (anthropic_error if of_anthropic else openai_error)(error)


def is_of_anthropic(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from one of Anthropic's clients, which always state the version of the API."""
    return "anthropic-version" in headers


def _openai_failure(error: ErrorResponse) -> bytes:
    return b"data: " + openai_error(error) + b"\n\n"


def _anthropic_failure(error: ErrorResponse) -> bytes:
    return b"event: error\ndata: " + anthropic_error(error) + b"\n\n"


def _response_failure(error: ErrorResponse) -> bytes:
    fields = {"code": error.code, "message": encodable(error.message), "param": error.param}
    # The protocol has these fields beside `type`; OpenAI's SDK raises only where they are under `error`.
    event = {"type": "error", **fields, "sequence_number": 0, "error": {**fields, "type": error.kind}}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _ollama_failure(error: ErrorResponse) -> bytes:
    return ollama_error(error) + b"\n"


_LINES = "application/x-ndjson"
CHAT = Surface("chat", "chat", openai_error, _openai_failure)
COMPLETIONS = Surface("completions", "completions", openai_error, _openai_failure)
EMBEDDINGS = Surface("embeddings", "embeddings", openai_error, _openai_failure, streams=False)
RESPONSES = Surface("responses", "responses", openai_error, _response_failure)
MESSAGES = Surface("messages", "messages", anthropic_error, _anthropic_failure)
OLLAMA_CHAT = Surface(
    "ollama_chat",
    "ollama_chat",
    ollama_error,
    _ollama_failure,
    stream_type=_LINES,
    prepared=prepared,
    immediate=answer_to_load,
)
OLLAMA_GENERATE = Surface(
    "ollama_generate",
    "ollama_generate",
    ollama_error,
    _ollama_failure,
    stream_type=_LINES,
    prepared=prepared,
    immediate=answer_to_load,
)
CALLING = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, OLLAMA_CHAT, OLLAMA_GENERATE)
"""The surfaces whose requests call a model."""
COUNT_TOKENS = Surface("count_tokens", "messages", anthropic_error, _anthropic_failure)
