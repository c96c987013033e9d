"""A call to an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.types import Api
from router.wire import wants_stream_usage


class Affinity(Struct, frozen=True):
    """The server that answered a conversation last (`router.dispatch.deployments.server_of`), which is called first.

    `binds`: the request contains what only that server can read, so the call also waits for it. `bound` is the path of
    the field that cannot be left out for another server; empty where all of it can.
    """

    server: str = ""
    binds: bool = False
    bound: str = ""


NO_AFFINITY = Affinity()


class Call(Struct, frozen=True, eq=False):
    """A client's request, to be sent to any card. `api` is the client's protocol, `body` its JSON, and `chat_body` the
    same as a chat-completions body where it has been converted already.

    `headers` are the client's, with names in lower case; only those that concern the model are forwarded.
    `affinity` is the server that has the conversation. `fresh_connection`: the call is a retry after a broken
    connection. `decode`: the response will be converted, so decode it once.
    """

    api: Api
    body: Mapping[str, Any]
    stream: bool = False
    headers: Mapping[str, str] = {}
    chat_body: Mapping[str, Any] | None = None
    fresh_connection: bool = False
    decode: bool = False
    affinity: Affinity = NO_AFFINITY

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the event that reports a stream's usage."""
        return wants_stream_usage(self.body)
