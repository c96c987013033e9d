"""The HTTP server: uvicorn with this package's protocol and acceptor, and hooks for readiness, draining and SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from router.gateway.server.acceptor import Acceptor
from router.gateway.server.connections import Connections
from router.gateway.server.http.protocol import HttpProtocol
from router.gateway.server.workers import unblock_signals


class Hooks(Struct, frozen=True):
    """What is called when.

    `on_ready` once, when the server accepts requests; `drain` at the first SIGTERM, and returns the seconds until the
    server stops accepting requests; `on_hangup` at every SIGHUP; `on_stop` once, when all is closed.
    `grace_s` gives the seconds after which requests in progress are aborted at the end; None for never.
    """

    on_ready: Callable[[], None] = lambda: None
    drain: Callable[[], float] = lambda: 0.0
    on_hangup: Callable[[], None] | None = None
    on_stop: Callable[[], None] = lambda: None
    grace_s: Callable[[], float | None] = lambda: None


_NO_HOOKS = Hooks()


def run(
    app: ASGIApp, listener: socket.socket, hooks: Hooks = _NO_HOOKS, connections: Connections | None = None
) -> None:
    """Serve an ASGI application with the gateway's settings; requests in progress are completed before it returns."""
    # uvicorn raises SIGINT again after its shutdown.
    with contextlib.suppress(KeyboardInterrupt):
        Server(app, listener, hooks, connections).run()


class Server(uvicorn.Server):
    """A uvicorn server that accepts from `listener`. A worker whose supervisor has ended stops, too."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        hooks: Hooks = _NO_HOOKS,
        connections: Connections | None = None,
    ) -> None:
        self.connections = connections or Connections()
        super().__init__(_config(app))
        self._listener, self._hooks = listener, hooks
        self._acceptor: Acceptor | None = None
        self._is_draining = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal."""
        # Signals may arrive from here on.
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        del sockets
        try:
            await super().startup(sockets=[])
        except SystemExit:
            # uvicorn's status for this is that of an invalid configuration here. The error has been logged.
            raise SystemExit(1) from None
        if self._hooks.on_hangup is not None:
            self._loop.add_signal_handler(signal.SIGHUP, self._hooks.on_hangup)
            unblock_signals()
        supervisor = multiprocessing.parent_process()
        if supervisor is not None:
            self._loop.add_reader(supervisor.sentinel, self._on_orphaned, supervisor.sentinel)
        self._acceptor = Acceptor(self._listener, self._make_protocol, self.connections)
        self._hooks.on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Renew the date of responses, and return whether to stop."""
        ends = await super().on_tick(counter)
        self.connections.common_head = b"".join(
            name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers
        )
        return ends

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, complete the running requests, stop the application."""
        del sockets
        if self._acceptor is not None:
            self._acceptor.close()
        self.config.timeout_graceful_shutdown = self._hooks.grace_s()  # type: ignore[assignment]  # it may be a fraction
        await super().shutdown(sockets=[self._listener])
        self._hooks.on_stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server; at the first SIGTERM after a delay in which load balancers can notice `/readyz`."""
        if sig != signal.SIGTERM or self._is_draining:
            super().handle_exit(sig, frame)
            return
        self._is_draining = True
        delay_s = self._hooks.drain()
        stop = super().handle_exit
        self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, stop, sig, frame)

    def _make_protocol(self) -> asyncio.Protocol:
        return HttpProtocol(self.connections, self.config.loaded_app, self.server_state, self.lifespan.state)

    def _on_orphaned(self, sentinel: int) -> None:
        # Nobody would replace this worker, and the next gateway needs its port: no drain.
        self._loop.remove_reader(sentinel)
        self.should_exit = True


def _config(app: ASGIApp) -> uvicorn.Config:
    """The settings of uvicorn for the gateway. Time limits are those of `Connections`."""
    return uvicorn.Config(
        app,
        # The process decides where messages go.
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        # The gateway reads `X-Forwarded-For` itself (`trusted_proxies`).
        proxy_headers=False,
        lifespan="on",
        # `Server` makes the protocols itself.
        http=HttpProtocol,
        # There are no websockets here, and searching for a library takes time.
        ws="none",
    )
