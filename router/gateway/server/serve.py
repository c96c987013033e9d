"""Running the gateway: one process, or several that share a port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from router import settings
from router.cards import Card
from router.dispatch.availability import unavailable_cards
from router.errors import ConfigurationError
from router.formats.net import is_loopback
from router.gateway.app import Gateway, make_app
from router.gateway.config.reload import ConfigReloader, loader
from router.gateway.config.sources import Sources
from router.gateway.server.workers import WorkerSupervisor, ready_for_signals
from router.gateway.telemetry.access_log import AccessLog
from router.gateway.telemetry.traces import open_traces
from router.loading import load_predictor
from router.store.records.journal import Journal
from router.store.state.sqlite import State

_STANDARD_OUTPUT = 1
# Python looks for cycles after 700 new objects, which is several times a request; a request leaves hardly any behind.
_COLLECT_AFTER = 20_000
# Money stays set aside for as long as a request may take, and then some.
_LEAST_HOLD_S, _SETTLING_S = 900.0, 60.0


class Serving(Struct, frozen=True):
    """How the gateway runs: what it reads, where it listens, by how many processes, and what it keeps.

    `drain_s`: how long `/readyz` says that requests should go elsewhere before the gateway takes no more of them.
    `store` is where counters lie, and, with `records`, the record of every request.
    """

    sources: Sources
    artifact: Path
    store: Path
    records: bool = True
    host: str = settings.DEFAULT_HOST
    port: int = settings.DEFAULT_PORT
    workers: int = 1
    drain_s: float = 2.0
    access_log: bool = True
    metrics_folder: Path | None = None


def serve(serving: Serving, tell: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM. Answers that run then end before the process does; SIGHUP reads everything anew.

    `tell` gets what a person at a terminal wants to know, in lines: when requests are answered, where and by how many
    cards, and later what has changed.

    Raises ConfigurationError where something configured cannot be read, the address cannot be had, or can be reached
    from other machines though there are no keys: anybody could spend the providers' keys that the gateway holds.
    """
    with listen(serving.host, serving.port) as listener:
        if serving.workers == 1:
            work(serving, listener, tell)
            return
        with tempfile.TemporaryDirectory(prefix="pulvinar-") as folder:
            sharing = msgspec.structs.replace(serving, metrics_folder=Path(folder))
            WorkerSupervisor(functools.partial(_work_in_crew, sharing, listener, tell), serving.workers, tell).run()


def _work_in_crew(serving: Serving, listener: socket.socket, tell: Callable[[str], None], number: int) -> None:
    # What all workers would say, the first one says.
    work(serving, listener, tell if number == 0 else _say_nothing)


def _say_nothing(_: str) -> None:
    """Take a line and leave it."""


def work(serving: Serving, listener: socket.socket, tell: Callable[[str], None]) -> None:
    """Serve with this process alone."""
    predictor = load_predictor(serving.artifact)
    live = ConfigReloader(loader(serving.sources, predictor), serving.sources, tell=tell)
    if not live.current.keys and not _is_local(serving.host):
        raise ConfigurationError(
            f"{serving.host} can be reached from other machines, and {serving.sources.keys} holds no key, so anybody "
            "could spend the providers' keys that the gateway holds; make one with `route keys add NAME`, or listen on "
            "127.0.0.1"
        )
    hold_s = live.current.config.timeouts.total_s + _SETTLING_S
    catalog = live.current.router.catalog
    gateway = Gateway(
        live,
        probe=unavailable_cards,
        state=State(serving.store / "state.sqlite", hold_s=max(hold_s, _LEAST_HOLD_S)),
        # A single worker remembers them faster by itself.
        conversations=State() if serving.workers == 1 else None,
        journal=_journal(serving, live),
        access_log=AccessLog(_STANDARD_OUTPUT) if serving.access_log else None,
        traces=open_traces(_card_in(live)) if settings.tracing() else None,
        metrics_folder=serving.metrics_folder,
        tell=tell,
    )

    def announce() -> None:
        # What is there now stays until the end, and need not be looked through again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        host = f"[{serving.host}]" if ":" in serving.host else serving.host
        port = listener.getsockname()[1]
        tell(f"{gateway.watch.callable_cards} of {len(catalog)} cards can be called now (`route doctor` says why)")
        tell(f'Point a client at it: base_url="http://{host}:{port}/v1", model="auto"')

    def drain() -> float:
        gateway.is_draining = True
        return serving.drain_s

    run(make_app(gateway), listener, announce, drain, live.reload_soon)


def run(
    app: ASGIApp,
    listener: socket.socket,
    when_ready: Callable[[], None] = lambda: None,
    drain: Callable[[], float] = lambda: 0.0,
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """Serve any ASGI application as the gateway is served: running answers end before the process does.

    `when_ready` is called once, when requests are answered; `drain` at the first SIGTERM, and gives the seconds after
    which no more requests are taken; `on_hangup` at every SIGHUP.
    """
    # uvicorn raises SIGINT once more when it has shut down.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(server_config(app), when_ready, drain, on_hangup).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it listens, and drains, which no hooks of uvicorn's do."""

    def __init__(
        self,
        config: uvicorn.Config,
        when_ready: Callable[[], None],
        drain: Callable[[], float],
        on_hangup: Callable[[], None] | None,
    ) -> None:
        super().__init__(config)
        self._when_ready, self._drain, self._on_hangup = when_ready, drain, on_hangup
        self._is_draining = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        # A signal may come at any time from here on.
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_hangup is not None:
            self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            ready_for_signals()
        self._when_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, at SIGTERM after a while in which balancers can see that requests should go elsewhere."""
        if sig != signal.SIGTERM or self._is_draining:
            super().handle_exit(sig, frame)
            return
        self._is_draining = True
        after_s = self._drain()
        stop = super().handle_exit
        self._loop.call_soon_threadsafe(self._loop.call_later, after_s, stop, sig, frame)


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
        # There are no websockets here, and looking for a library of them takes time.
        ws="none",
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


def _is_local(host: str) -> bool:
    return is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")


def _journal(serving: Serving, live: ConfigReloader) -> Journal | None:
    if not serving.records:
        return None
    return Journal.open(serving.store, keep_days=live.current.config.records.keep_days)


def _card_in(live: ConfigReloader) -> Callable[[str], Card | None]:
    def card(name: str) -> Card | None:
        catalog = live.current.router.catalog
        position = catalog.position(name)
        return None if position is None else catalog[position]

    return card
