"""Running the gateway."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from router import settings
from router.dispatch import Dispatcher, Timeouts
from router.dispatch.reach import unavailable_cards
from router.errors import ConfigurationError
from router.gateway.app import make_app
from router.pipeline import Router

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8686


def serve(
    router: Router,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    timeouts: Timeouts | None = None,
    when_ready: Callable[[], None] | None = None,
) -> None:
    """Serve `router` until SIGINT or SIGTERM; call `when_ready` once the address is ours.

    Raises ConfigurationError where the address cannot be had, or is not on this machine's loopback interface: there
    are no client keys yet, so anybody who reaches the gateway spends the keys it holds.
    """
    if not settings.on_this_machine(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise ConfigurationError(
            f"{host} can be reached from other machines, and the gateway has no client keys yet; "
            "listen on 127.0.0.1 and put a proxy that authenticates in front"
        )
    app = make_app(router, Dispatcher(timeouts), lambda: unavailable_cards(router.catalog))
    run(app, host, port, when_ready)


def run(
    app: ASGIApp,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    when_ready: Callable[[], None] | None = None,
) -> None:
    """Serve any ASGI application as the gateway is served: running answers end before the process does."""
    listener = listen(host, port)
    if when_ready is not None:
        when_ready()
    # uvicorn raises SIGINT once more when it has shut down.
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(server_config(app)).run(sockets=[listener])


def server_config(app: ASGIApp) -> uvicorn.Config:
    """uvicorn's settings for the gateway."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Behind a load balancer the sender's address means nothing to the gateway.
        proxy_headers=False,
        lifespan="on",
        # Clients keep connections for longer than uvicorn's 5 seconds, and would meet it hanging up.
        timeout_keep_alive=75,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Raises ConfigurationError where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say they are TCP; without it, small events wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener
