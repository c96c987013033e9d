"""Running the gateway."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from router import settings
from router.dispatch import Dispatcher, Timeouts
from router.dispatch.reach import unavailable_cards
from router.errors import ConfigurationError
from router.gateway.app import make_app
from router.gateway.watch import Watch
from router.pipeline import Router

_LOG = logging.getLogger(__name__)


def serve(
    router: Router,
    host: str = settings.DEFAULT_HOST,
    port: int = settings.DEFAULT_PORT,
    *,
    timeouts: Timeouts | None = None,
    tell: Callable[[str], None] = _LOG.info,
) -> None:
    """Serve `router` until SIGINT or SIGTERM.

    `tell` gets what a person at a terminal wants to know, in lines: when requests are answered, where and by how many
    cards, and later which cards have come or gone.

    Raises ConfigurationError where the address cannot be had, or is not on this machine's loopback interface: there
    are no client keys yet, so anybody who reaches the gateway spends the keys it holds.
    """
    if not settings.on_this_machine(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise ConfigurationError(
            f"{host} can be reached from other machines, and the gateway has no client keys yet; "
            "listen on 127.0.0.1 and put a proxy that authenticates in front"
        )
    watch = Watch(router.catalog, lambda: unavailable_cards(router.catalog), tell)

    def announce() -> None:
        shown = f"[{host}]" if ":" in host else host
        tell(f"{watch.callable_cards} of {len(router.catalog)} cards can be called now (`route doctor` says why)")
        tell(f'Point a client at it: base_url="http://{shown}:{port}/v1", model="auto"')

    run(make_app(router, Dispatcher(timeouts), watch), host, port, announce)


def run(
    app: ASGIApp,
    host: str = settings.DEFAULT_HOST,
    port: int = settings.DEFAULT_PORT,
    when_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve any ASGI application as the gateway is served: running answers end before the process does.

    `when_ready` is called once, when requests are answered.
    """
    listener = listen(host, port)
    # uvicorn raises SIGINT once more when it has shut down.
    with listener, contextlib.suppress(KeyboardInterrupt):
        _Server(server_config(app), when_ready).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it listens, which no hook of uvicorn's does."""

    def __init__(self, config: uvicorn.Config, when_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_ready = when_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._when_ready()


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
