"""Running the gateway."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

from router.dispatch import Dispatcher, Timeouts
from router.errors import ConfigurationError
from router.gateway.app import make_app
from router.pipeline import Router

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8080


def serve(
    router: Router, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT, *, timeouts: Timeouts | None = None
) -> None:
    """Serve `router` until SIGINT or SIGTERM. Raises ConfigurationError where the address cannot be had."""
    run(make_app(router, Dispatcher(timeouts)), host, port)


def run(app: ASGIApp, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> None:
    """Serve any ASGI application as the gateway is served: running answers end before the process does."""
    try:
        listener = socket.create_server((host, port), family=_family(host), backlog=2048)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    with listener:
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


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
