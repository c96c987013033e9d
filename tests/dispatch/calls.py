"""One call through a new dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from router.cards import Card
from router.dispatch import Call, Dispatcher, DispatchSettings, Timeouts, UpstreamResponse

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def call(
    *cards: Card,
    body: Mapping[str, Any] = BODY,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
    timeouts: Timeouts | None = None,
) -> tuple[UpstreamResponse, bytes]:
    """The response, and its whole body."""

    async def main() -> tuple[UpstreamResponse, bytes]:
        # No retries, and a new dispatcher has no cooldowns: these tests are about single calls.
        dispatcher = Dispatcher(DispatchSettings(timeouts or Timeouts(), retries=0))
        try:
            response = await dispatcher.send_first_healthy(cards, Call("chat", body, stream, headers or {}))
            if isinstance(response.body, bytes):
                return response, response.body
            try:
                return response, await response.body.whole()
            finally:
                await response.body.aclose()
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


@contextlib.contextmanager
def raw_server(response: bytes) -> Iterator[str]:
    """A server that sends these bytes, which need not be HTTP, to every client; the value is its URL."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(response)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
