"""A call to an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.dispatch.connection.raw import RawRequest
from router.errors import UpstreamError
from router.types import Api
from router.wire import wants_stream_usage
from router.wire.reading.stored import without_encrypted_reasoning


class Affinity(Struct, frozen=True):
    """The server that answered a conversation last (`router.dispatch.deployments.server_of`), which is called first.

    `binds`: the request contains what only that server can read, so the call also waits for it. `bound` is the path of
    the field that cannot be left out for another server; empty where all of it can.
    """

    server: str = ""
    binds: bool = False
    bound: str = ""

    def explained(self, failure: UpstreamError) -> UpstreamError:
        """The failure of a call, with the reason why no other server was tried, if there is one."""
        if not (self.binds and self.bound):
            return failure
        reason = f"`{self.bound}` refers to what only this server has; send the whole conversation to go on elsewhere"
        return UpstreamError(f"{failure}; {reason}", failure.status, failure.fault)


NO_AFFINITY = Affinity()


class Call(Struct, frozen=True, eq=False):
    """A client's request, to be sent to any card. `api` is the client's protocol, `body` its JSON, and `chat_body` the
    same as a chat-completions body where it has been converted already.

    `headers` are the client's, with names in lower case; only those that concern the model are forwarded.
    `affinity` is the server that has the conversation. `fresh_connection`: the call is a retry after a broken
    connection. `decode`: the response will be converted, so decode it once. `raw`: what to send as it is, in place of
    `body`.
    """

    api: Api
    body: Mapping[str, Any]
    stream: bool = False
    headers: Mapping[str, str] = {}
    chat_body: Mapping[str, Any] | None = None
    fresh_connection: bool = False
    decode: bool = False
    raw: RawRequest | None = None
    affinity: Affinity = NO_AFFINITY

    def at_server(self, server: str) -> Call:
        """The call for this server: without the reasoning that another one encrypted."""
        affinity = self.affinity
        if not affinity.binds or affinity.bound or server == affinity.server:
            return self
        return msgspec.structs.replace(self, body=without_encrypted_reasoning(self.body))

    @property
    def wants_usage(self) -> bool:
        """Whether the client wants the event that reports a stream's usage."""
        return wants_stream_usage(self.body)
