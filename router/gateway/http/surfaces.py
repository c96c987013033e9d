"""The protocols that clients speak: how each says what it wants, and how it is told of an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.dispatch import UpstreamResponse
from router.errors import CallerError
from router.formats.json import encodable
from router.gateway.http.errors import ErrorResponse, decoded, upstream_error_response
from router.types import Api
from router.wire import CONVERSIONS, Dialect
from router.wire.chat.request import ChatRequest, Turn

_ANY_UPSTREAM = Dialect()


class Reading(Struct, frozen=True):
    """A request as the predictor reads it. `native` says why only an upstream that speaks the protocol itself can
    answer it; empty where any can.
    """

    request: ChatRequest
    native: str = ""


class Surface(Struct, frozen=True, eq=False):
    """One protocol. `name` is that of its metrics; `error` writes an error's body, `failure` the event that ends a
    stream with one. One that never `streams` answers whole, whatever the client says.
    """

    name: str
    api: Api
    error: Callable[[ErrorResponse], bytes]
    failure: Callable[[ErrorResponse], bytes]
    streams: bool = True

    def read(self, body: Mapping[str, Any]) -> Reading:
        """The request in a client's body, which stays the request's `body`. Raises CallerError."""
        if self.api == "chat":
            return Reading(ChatRequest.from_body(body))
        try:
            request = ChatRequest.from_body(CONVERSIONS[self.api].to_chat(body, _ANY_UPSTREAM))
        except CallerError as error:
            # What chat cannot say, an upstream of this protocol may still understand.
            return Reading(ChatRequest((Turn("user", _words(body)),), body=body), str(error))
        return Reading(msgspec.structs.replace(request, body=body))

    def refusal(self, answer: UpstreamResponse) -> bytes:
        """The body of an upstream's error: as it is, where it has this protocol's shape, else put into it."""
        assert isinstance(answer.body, bytes)
        said = decoded(answer.body)
        error = said.get("error") if isinstance(said, dict) else None
        fitting = isinstance(error, dict) and isinstance(error.get("message"), str)
        if fitting and (self.api != "messages" or said.get("type") == "error"):
            return answer.body
        return self.error(upstream_error_response(answer))


def openai_error(fault: ErrorResponse) -> bytes:
    """An error as OpenAI's clients read it. Half of a surrogate pair in the message becomes a question mark."""
    shape = {"message": encodable(fault.message), "type": fault.kind, "param": fault.param, "code": fault.code}
    return msgspec.json.encode({"error": shape})


def anthropic_error(fault: ErrorResponse) -> bytes:
    """An error as Anthropic's clients read it."""
    return CONVERSIONS["messages"].error(fault.status, encodable(fault.message), fault.kind, fault.code, fault.param)


def error_body(path: str, fault: ErrorResponse) -> bytes:
    """An error where no surface has taken the request: in the shape that the clients of `path` read."""
    return (anthropic_error if path.removeprefix("/v1").startswith("/messages") else openai_error)(fault)


def _openai_failure(fault: ErrorResponse) -> bytes:
    return b"data: " + openai_error(fault) + b"\n\n"


def _anthropic_failure(fault: ErrorResponse) -> bytes:
    return b"event: error\ndata: " + anthropic_error(fault) + b"\n\n"


def _response_failure(fault: ErrorResponse) -> bytes:
    said = {"code": fault.code, "message": encodable(fault.message), "param": fault.param}
    # The protocol has these fields beside `type`; OpenAI's SDK raises only where they stand under `error`.
    event = {"type": "error", **said, "sequence_number": 0, "error": {**said, "type": fault.kind}}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


CHAT = Surface("chat", "chat", openai_error, _openai_failure)
COMPLETIONS = Surface("completions", "completions", openai_error, _openai_failure)
EMBEDDINGS = Surface("embeddings", "embeddings", openai_error, _openai_failure, streams=False)
RESPONSES = Surface("responses", "responses", openai_error, _response_failure)
MESSAGES = Surface("messages", "messages", anthropic_error, _anthropic_failure)
COUNT_TOKENS = Surface("count_tokens", "messages", anthropic_error, _anthropic_failure)


_SPOKEN = ("instructions", "system", "messages", "input", "prompt", "content", "text")


def _words(said: Any, depth: int = 0) -> str:
    """The texts anywhere in a body, as far as nesting is sane."""
    if depth > 8:
        return ""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        return "\n".join(filter(None, (_words(each, depth + 1) for each in said)))
    if isinstance(said, Mapping):
        return _words([said[field] for field in _SPOKEN if field in said], depth + 1)
    return ""
