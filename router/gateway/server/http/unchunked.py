"""Streams for clients of HTTP/1.0, which does not know chunks: the end of the connection is the end of the body."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class UnchunkedCycle(RequestResponseCycle):
    """One response of HTTP/1.0, after which uvicorn closes the connection.

    uvicorn would send chunks to every client; RFC 9112, section 6.1, forbids it for HTTP/1.0.
    """

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
