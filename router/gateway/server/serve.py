"""`route serve`: run the gateway in one process, or in several that share a port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from router import settings
from router.cards import Card
from router.dispatch.availability import list_servers
from router.errors import ConfigurationError
from router.formats.net import is_loopback
from router.gateway.app import make_app
from router.gateway.config.reload import ConfigReloader, loader
from router.gateway.config.sources import Sources
from router.gateway.server.listener import listen, listen_at, shown, without_brackets
from router.gateway.server.unchunked import HttpProtocol
from router.gateway.server.workers import WorkerSupervisor, unblock_signals
from router.gateway.telemetry.access_log import AccessLog
from router.gateway.telemetry.traces import open_traces
from router.gateway.worker import Gateway
from router.loading import load_predictor
from router.store import open_store
from router.store.records.patient import PatientSink
from router.store.state.sqlite import HOLD_S, SqliteState
from router.store.state.threaded import ThreadedState

_STANDARD_OUTPUT = 1
# By default Python searches for cycles after 700 new objects: several times per request, which leaves hardly any.
_GC_THRESHOLD = 20_000
# What a request may take at the end beyond `timeouts.total`: to send its last words, and to be recorded.
_LAST_WORDS_S = 3.0


class ServeOptions(Struct, frozen=True):
    """The options of `route serve`.

    `drain_s`: seconds of `/readyz` responding 503 between SIGTERM and the end of new connections. `store` is the
    folder or URL of the shared counters and, with `records`, of the record of every request. `uds` is the path of a
    unix socket, in place of `host` and `port`.
    """

    sources: Sources
    artifact: Path
    store: str | Path
    records: bool = True
    host: str = settings.DEFAULT_HOST
    port: int = settings.DEFAULT_PORT
    uds: Path | None = None
    workers: int = 1
    drain_s: float = 2.0
    access_log: bool = True
    metrics_folder: Path | None = None


def serve(options: ServeOptions, notify: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; requests in progress are completed first. SIGHUP reloads the configuration.

    `notify` gets lines for the operator: the address and the available cards at the start, later every change.

    Raises ConfigurationError if the configuration is invalid, if the address is in use, or if other machines can reach
    it and there are no API keys: anyone could then use the providers' keys.
    """
    options = msgspec.structs.replace(options, host=without_brackets(options.host))
    with _listener(options) as listener:
        if options.workers == 1:
            run_worker(options, listener, notify)
            return
        with tempfile.TemporaryDirectory(prefix="pulvinar-") as folder:
            options = msgspec.structs.replace(options, metrics_folder=Path(folder))
            target = functools.partial(_run_numbered_worker, options, listener, notify)
            WorkerSupervisor(target, options.workers, notify).run()


@contextlib.contextmanager
def _listener(options: ServeOptions) -> Iterator[socket.socket]:
    if options.uds is None:
        with listen(options.host, options.port) as listener:
            yield listener
        return
    with listen_at(options.uds) as listener:
        try:
            yield listener
        finally:
            options.uds.unlink(missing_ok=True)


def _run_numbered_worker(
    options: ServeOptions, listener: socket.socket, notify: Callable[[str], None], number: int
) -> None:
    # All workers would print the same lines, so only the first one does.
    run_worker(options, listener, notify if number == 0 else _discard)


def _discard(_: str) -> None:
    """Discard the message."""


def run_worker(options: ServeOptions, listener: socket.socket, notify: Callable[[str], None]) -> None:
    """Serve in this process."""
    predictor = load_predictor(options.artifact)
    reloader = ConfigReloader(loader(options.sources, predictor), options.sources, notify=notify)
    if not reloader.current.keys and options.uds is None and not _is_local(options.host):
        raise ConfigurationError(
            f"{options.host} can be reached from other machines, but {options.sources.keys} has no API keys, so anyone "
            "could use the providers' keys of this gateway. Create a key with `route keys add ID`, or listen on "
            "127.0.0.1"
        )
    store, config, catalog = open_store(options.store), reloader.current.config, reloader.current.router.catalog
    gateway = Gateway(
        reloader,
        probe=list_servers,
        state=ThreadedState(store.shared_state(HOLD_S), lambda: reloader.current.keys.have_limits),
        # A single worker needs no shared store, and memory is faster.
        conversations=SqliteState() if options.workers == 1 else None,
        journal=PatientSink(store.record_sink(config.records.keep_days)) if options.records else None,
        access_log=AccessLog(_STANDARD_OUTPUT) if options.access_log else None,
        traces=open_traces(_card_lookup(reloader)) if settings.tracing() else None,
        metrics_folder=options.metrics_folder,
        notify=notify,
    )

    def announce() -> None:
        # Objects that exist now stay until the end; the garbage collector need not visit them again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        available = gateway.availability.callable_cards
        notify(f"{available} of {len(catalog)} cards are available (`route doctor` shows what is missing)")
        if options.uds is not None:
            notify(f'Point a client or a proxy at the unix socket {options.uds}, model="auto"')
        else:
            address = f"{shown(options.host)}:{listener.getsockname()[1]}"
            notify(f'Point a client at it: base_url="http://{address}{config.base_path}/v1", model="auto"')

    def drain() -> float:
        gateway.is_draining = True
        return options.drain_s

    def on_stop() -> None:
        # Of several workers, the supervisor removes it; a single one ends by the signal that uvicorn raises again.
        if options.uds is not None and options.workers == 1:
            options.uds.unlink(missing_ok=True)

    def grace_s() -> float:
        return gateway.config.timeouts.total_s + _LAST_WORDS_S

    run(make_app(gateway), listener, announce, drain, reloader.reload_soon, on_stop, grace_s)


def run(
    app: ASGIApp,
    listener: socket.socket,
    on_ready: Callable[[], None] = lambda: None,
    drain: Callable[[], float] = lambda: 0.0,
    on_hangup: Callable[[], None] | None = None,
    on_stop: Callable[[], None] = lambda: None,
    grace_s: Callable[[], float | None] = lambda: None,
) -> None:
    """Serve an ASGI application with the gateway's settings; requests in progress are completed before it returns.

    `on_ready` is called once, when the server accepts requests; `drain` at the first SIGTERM, and returns the seconds
    until the server stops accepting requests; `on_hangup` at every SIGHUP; `on_stop` once, when all is closed.
    `grace_s` gives the seconds after which requests in progress are aborted then.
    """
    # uvicorn raises SIGINT again after its shutdown.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(server_config(app), on_ready, drain, on_hangup, on_stop, grace_s).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A uvicorn server with hooks for readiness, draining and SIGHUP."""

    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[], None],
        drain: Callable[[], float],
        on_hangup: Callable[[], None] | None,
        on_stop: Callable[[], None],
        grace_s: Callable[[], float | None],
    ) -> None:
        super().__init__(config)
        self._grace_s = grace_s
        self._on_ready, self._drain, self._on_hangup, self._on_stop = on_ready, drain, on_hangup, on_stop
        self._is_draining = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Signals may arrive from here on.
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_hangup is not None:
            self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            unblock_signals()
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.timeout_graceful_shutdown = self._grace_s()  # type: ignore[assignment]  # it may be a fraction
        await super().shutdown(sockets)
        self._on_stop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server; at the first SIGTERM after a delay in which load balancers can notice `/readyz`."""
        if sig != signal.SIGTERM or self._is_draining:
            super().handle_exit(sig, frame)
            return
        self._is_draining = True
        delay_s = self._drain()
        stop = super().handle_exit
        self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, stop, sig, frame)


def server_config(app: ASGIApp) -> uvicorn.Config:
    """The settings of uvicorn for the gateway."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        # The gateway does not use the client's address.
        proxy_headers=False,
        lifespan="on",
        http=HttpProtocol,
        # Clients reuse connections for longer than uvicorn's default of 5 seconds, and would find them closed.
        timeout_keep_alive=75,
        # There are no websockets here, and searching for a library takes time.
        ws="none",
    )


def _is_local(host: str) -> bool:
    return is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")


def _card_lookup(reloader: ConfigReloader) -> Callable[[str], Card | None]:
    def card(id_: str) -> Card | None:
        catalog = reloader.current.router.catalog
        position = catalog.position(id_)
        return None if position is None else catalog[position]

    return card
