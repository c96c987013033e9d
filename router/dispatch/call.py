"""A call to an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.dispatch.connection.raw import RawRequest
from router.types import Api
from router.wire import wants_stream_usage


class Call(Struct, frozen=True, eq=False):
    """A client's request, to be sent to any card. `api` is the client's protocol, `body` its JSON, and `chat_body` the
    same as a chat-completions body where it has been converted already.

    `headers` are the client's, with names in lower case; only those that concern the model are forwarded.
    `fresh_connection`: the call is a retry after a broken connection. `decode`: the response will be converted, so
    decode it once. `raw`: what to send as it is, in place of `body`.
    """

    api: Api
    body: Mapping[str, Any]
    stream: bool = False
    headers: Mapping[str, str] = {}
    chat_body: Mapping[str, Any] | None = None
    fresh_connection: bool = False
    decode: bool = False
    raw: RawRequest | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the event that reports a stream's usage."""
        return wants_stream_usage(self.body)
