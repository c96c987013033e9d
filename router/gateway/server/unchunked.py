"""Streams for clients of HTTP/1.0, which does not know chunks: the end of the connection is the end of the body."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from router.gateway.http.client.sending import CONNECTION, ClientConnection


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which would send chunks to every client (RFC 9112, section 6.1, forbids it for HTTP/1.0)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        self._client_connection = ClientConnection(transport)

    def on_headers_complete(self) -> None:
        """Begin the response of a request whose headers have been read."""
        super().on_headers_complete()
        self.scope["extensions"] = {CONNECTION: self._client_connection}  # type: ignore[dict-item]
        if self.scope["http_version"] == "1.0" and self.cycle is not None:
            # The task that uses it has not run yet.
            self.cycle.__class__ = UnchunkedCycle


class UnchunkedCycle(RequestResponseCycle):
    """One response of HTTP/1.0, after which uvicorn closes the connection."""

    is_unlimited = False

    async def send(self, message: Any) -> None:
        """Send a part of the response. A body without a length is sent as it is."""
        if message["type"] == "http.response.start":
            if not any(name.lower() == b"content-length" for name, _ in message.get("headers", [])):
                self.is_unlimited = True
                self.chunked_encoding = False
        elif self.is_unlimited:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
