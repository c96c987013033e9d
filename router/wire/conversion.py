"""What each surface's conversion offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from router.wire.chat.answer import Chunk

Body = Mapping[str, Any]


class EventWriter(Protocol):
    """Writes one stream. Each item of what it gives is whole server-sent events, mostly one."""

    def feed(self, chunk: Chunk) -> Sequence[bytes]:
        """The events that a chat chunk brings.

        Raises UpstreamError for a chunk that says the answer broke off, or that is no chat chunk; then `fail` follows.
        """

    def end(self) -> Sequence[bytes]:
        """The events that close the stream, after the upstream's `[DONE]`.

        Raises UpstreamError where the answer is not whole, which a missing finish reason shows; then `fail` follows.
        """

    def fail(self, message: str, kind: str, code: str | None) -> bytes:
        """The end of a stream that failed in its middle; `kind` and `code` are OpenAI's. Nothing follows."""


class ToChat(Protocol):
    """A client's body as a chat-completions body."""

    def __call__(self, body: Body) -> dict[str, Any]:
        """The body, its model left as it is. Raises FieldError naming the field that is wrong, or that chat
        cannot say.
        """


class Conversion(Struct, frozen=True):
    """How the clients of one surface are answered by an upstream that speaks chat completions.

    Pure: ids and times come from the upstream's answer. `body` is the client's own, in all of them.

    - `to_chat(body)`: see `ToChat`.
    - `answer(chat, body)`: a whole chat completion as this surface's answer. Raises UpstreamError.
    - `events(body)`: a writer for the stream.
    - `error(status, message, kind, code, param)`: an error's body; `kind` and `code` are OpenAI's.
    """

    to_chat: ToChat
    answer: Callable[[Body, Body], dict[str, Any]]
    events: Callable[[Body], EventWriter]
    error: Callable[[int, str, str, str | None, str | None], bytes]
