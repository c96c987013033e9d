"""One call through a dispatcher of its own."""

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
    """The answer, and its body read to the end."""

    async def main() -> tuple[UpstreamResponse, bytes]:
        # One try a card, and no card rests: these tests are about single calls.
        dispatcher = Dispatcher(DispatchSettings(timeouts or Timeouts(), retries=0))
        try:
            answer = await dispatcher.send_first_healthy(cards, Call("chat", body, stream, headers or {}))
            if isinstance(answer.body, bytes):
                return answer, answer.body
            try:
                return answer, await answer.body.whole()
            finally:
                await answer.body.aclose()
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


@contextlib.contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A server that says these bytes to every request, be they HTTP or not; the value is its URL."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

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
