"""The interface of the conversions from and to chat completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from router.formats.json import encodable, json_bytes
from router.wire.chat.answer import Chunk

Body = Mapping[str, Any]


class EventWriter(Protocol):
    """Writes the events of one stream. Every returned item is one or more whole server-sent events."""

    def feed(self, chunk: Chunk) -> Sequence[bytes]:
        """The events for a chat chunk.

        Raises UpstreamError for a chunk that reports a failure or is not a chat chunk; then call `fail`.
        """

    def end(self) -> Sequence[bytes]:
        """The events that close the stream, after the upstream's `[DONE]`.

        Raises UpstreamError where the answer is incomplete, because it has no finish reason; then call `fail`.
        """

    def fail(self, message: str, kind: str, code: str | None) -> bytes:
        """The last events of a stream that failed; `kind` and `code` are the type and code of OpenAI's errors."""


class ToChat(Protocol):
    """Converts a client's body to a chat-completions body."""

    def __call__(self, body: Body) -> dict[str, Any]:
        """The chat body, with the same `model`. Raises FieldError that names a field which is invalid or which chat
        does not support.
        """


class Answer(Protocol):
    """Converts a chat completion to an answer of the client's protocol."""

    def __call__(self, chat: Body, body: Body, maker: str = ..., /) -> dict[str, Any]:
        """See `Conversion.answer`."""


class Events(Protocol):
    """Makes the writer of a stream."""

    def __call__(self, body: Body, maker: str = ..., /) -> EventWriter:
        """See `Conversion.events`."""


def openai_error(_status: int, message: str, kind: str, code: str | None, param: str | None) -> bytes:
    """See `Conversion.error`; for OpenAI's own protocols."""
    return json_bytes({"error": {"message": encodable(message), "type": kind, "param": param, "code": code}})


class Conversion(Struct, frozen=True):
    """The conversion between one protocol and chat completions. `body` is always the client's request.

    Pure: ids and times are those of the upstream's answer.

    - `to_chat(body)`: see `ToChat`.
    - `answer(chat, body, maker)`: a whole chat completion as an answer of this protocol. Raises UpstreamError.
    - `events(body, maker)`: a writer for the stream. `maker` is the `id_without_effort` of the card that answers: its
      reasoning is sealed for it (`router.wire.reasoning`), or comes back without a maker where this is empty.
    - `error(status, message, kind, code, param)`: the body of an error; `kind` and `code` are the type and code of
      OpenAI's errors.
    """

    to_chat: ToChat
    answer: Answer
    events: Events
    error: Callable[[int, str, str, str | None, str | None], bytes]
