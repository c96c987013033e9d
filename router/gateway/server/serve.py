"""`route serve`: run the gateway in one process, or in several that share a port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from router import settings
from router.cards import Card
from router.dispatch.availability import list_servers
from router.errors import ConfigurationError, FileError, PassingError, PulvinarError
from router.formats.net import is_loopback
from router.garbage import resume_search
from router.gateway.app import make_app
from router.gateway.config.artifact import ActiveArtifact
from router.gateway.config.reload import ConfigReloader, loader
from router.gateway.config.sources import Sources
from router.gateway.server.allocator import return_large_blocks, use_huge_pages
from router.gateway.server.connections import Connections
from router.gateway.server.descriptors import client_connections, raise_descriptor_limit, warning
from router.gateway.server.listener import listen, listen_at, shown, without_brackets
from router.gateway.server.server import Hooks, run
from router.gateway.server.workers import SHARED, WorkerSupervisor
from router.gateway.telemetry.access_log import AccessLog
from router.gateway.telemetry.error_log import Writers
from router.gateway.telemetry.traces import open_traces
from router.gateway.worker import Gateway
from router.loading import load_plan_columns, load_plan_gate, load_predictor
from router.perceive.text.encoder import Encoder, StaticEncoder
from router.store import open_store
from router.store.backend import Backend, StateUse
from router.store.database import ForeignDatabaseError
from router.store.records.patient import PatientSink
from router.store.state.conversations import MemoryConversations
from router.store.state.protocol import RemoteState, StateStore
from router.store.state.sqlite import HOLD_S

_LOG = logging.getLogger(__name__)
# By default Python searches for cycles after 700 new objects: several times per request, which leaves hardly any.
_GC_THRESHOLD = 20_000
_SETTLE_AFTER_S = 0.5
# What a request may take at the end beyond `timeouts.total`: to send its last words, and to be recorded.
_LAST_WORDS_S = 3.0


class ServeOptions(Struct, frozen=True):
    """The options of `route serve`.

    `drain_s`: seconds of `/readyz` responding 503 between SIGTERM and the end of new connections. `store` is the
    folder or URL of the shared counters and, with `records`, of the record of every request, which goes from there to
    the PostgreSQL database at `records_url`, if there is one; `state` is the URL of the counters where several gateways
    share them. `uds` is the path of a unix socket, in place of `host` and `port`.
    """

    sources: Sources
    artifact: Path
    store: str | Path
    state: str | None = None
    records: bool = True
    records_url: str | None = None
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

    Raises ConfigurationError if the configuration is invalid, or if other machines can reach the address and there are
    no API keys: anyone could then use the providers' keys. Raises PassingError where a later start may succeed: the
    address is in use, the store cannot be written.
    """
    options = msgspec.structs.replace(options, host=without_brackets(options.host))
    return_large_blocks()
    writers = Writers()
    try:
        with writers.installed():
            if problem := warning(raise_descriptor_limit()):
                notify(problem)
            _serve(options, notify, writers)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise PassingError(f"{where}{error.strerror or error}") from error


def _serve(options: ServeOptions, notify: Callable[[str], None], writers: Writers) -> None:
    with _listener(options) as listener:
        if options.workers == 1:
            run_worker(options, listener, notify, writers)
            return
        with tempfile.TemporaryDirectory(prefix="pulvinar-") as folder:
            options = msgspec.structs.replace(options, metrics_folder=Path(folder))
            target = functools.partial(_run_numbered_worker, options, listener, notify)
            WorkerSupervisor(target, options.workers, notify, listener, forks_from=SHARED).run()


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
    writers = Writers()
    with writers.installed():
        try:
            # All workers would print the same lines, so only the first one does.
            run_worker(options, listener, notify if number == 0 else _discard, writers)
        except PulvinarError as error:
            notify(f"route: {error}")
            raise SystemExit(error.exit_code) from None
        except Exception:  # noqa: BLE001 - the outermost edge of this process: its supervisor learns the status
            _LOG.exception("worker %d failed", number + 1)
            sys.exit(1)


def _discard(_: str) -> None:
    """Discard the message."""


def run_worker(options: ServeOptions, listener: socket.socket, notify: Callable[[str], None], writers: Writers) -> None:
    """Serve in this process."""
    artifact = ActiveArtifact(load_predictor(options.artifact), load_plan_columns(options.artifact))
    load = loader(options.sources, artifact)
    reloader = ConfigReloader(load, options.sources, notify=notify)
    if not reloader.current.keys and options.uds is None and not _is_local(options.host):
        raise ConfigurationError(
            f"{options.host} can be reached from other machines, but {options.sources.keys} has no API keys, so anyone "
            "could use the providers' keys of this gateway. Create a key with `route keys add ID`, or listen on "
            "127.0.0.1"
        )
    config, catalog = reloader.current.config, reloader.current.router.catalog

    def is_trusted(address: str) -> bool:
        return gateway.proxies.trusts(address)

    connections = Connections(
        lambda: reloader.current.config.connections,
        capacity=client_connections(raise_descriptor_limit()),
        max_unread=config.max_body_bytes,
        is_trusted=is_trusted,
        base_path=lambda: reloader.current.config.base_path,
    )
    gateway = open_gateway(
        options,
        reloader,
        access_log=AccessLog(writers.output) if options.access_log else None,
        polled={
            "connections": lambda: connections.count,
            "connections_refused": lambda: connections.refused,
            "connections_evicted": lambda: connections.evicted,
            "heads_refused": lambda: connections.invalid_heads,
            "error_log_dropped": lambda: writers.errors_dropped,
        },
        artifact=artifact,
        notify=notify,
    )

    def announce() -> None:
        # Objects that exist now stay until the end; the garbage collector need not visit them, now or again. Hardly
        # any of them is garbage, and to look for it would take longer than to load the cards.
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        resume_search("start")
        available = gateway.availability.callable_cards
        notify(f"{available} of {len(catalog)} cards are available (`route doctor` shows what is missing)")
        if options.uds is not None:
            notify(f'Point a client or a proxy at the unix socket {options.uds}, model="auto"')
        else:
            address = f"{shown(options.host)}:{listener.getsockname()[1]}"
            notify(f'Point a client at it: base_url="http://{address}{config.base_path}/v1", model="auto"')
        if options.workers == 1:
            # Workers are forked from one process, and share what it holds.
            settling = threading.Thread(
                target=_settle, args=(artifact.predictor.encoder,), name="settling", daemon=True
            )
            # Not at once: it has the interpreter's lock for up to 20 ms at a time, and what waits for the gateway to be
            # ready, as a probe or a load balancer does, asks now.
            asyncio.get_running_loop().call_later(_SETTLE_AFTER_S, settling.start)

    def drain() -> float:
        gateway.is_draining = True
        return options.drain_s

    def on_stop() -> None:
        # Of several workers, the supervisor removes it; a single one ends by the signal that uvicorn raises again.
        if options.uds is not None and options.workers == 1:
            options.uds.unlink(missing_ok=True)

    def grace_s() -> float:
        return gateway.config.timeouts.total_s + _LAST_WORDS_S

    run(make_app(gateway), listener, Hooks(announce, drain, reloader.reload_soon, on_stop, grace_s), connections)


def _settle(encoder: Encoder) -> None:
    """What takes some tenths of a second at the start, for which no request waits."""
    if isinstance(encoder, StaticEncoder):
        encoder.prepare_lexicon()
    use_huge_pages()


def open_gateway(options: ServeOptions, reloader: ConfigReloader, **parts: Any) -> Gateway:
    """The gateway of this process with its stores; `parts` are further arguments of `Gateway`.

    Raises PassingError where a store cannot be used now.
    """
    backend = open_store(options.store, state=options.state, records=options.records_url)
    state, remote, journal = _open_state(options, backend, reloader)
    return Gateway(
        reloader,
        probe=list_servers,
        gate=load_plan_gate(options.artifact),
        state=state,
        remote=remote,
        # A single worker needs no shared store, and memory is faster.
        conversations=MemoryConversations() if options.workers == 1 and remote is None else None,
        journal=journal,
        backend=None if journal is None else backend,
        traces=open_traces(_card_lookup(reloader)) if settings.tracing() else None,
        metrics_folder=options.metrics_folder,
        **parts,
    )


def _open_state(
    options: ServeOptions, backend: Backend, reloader: ConfigReloader
) -> tuple[StateStore, RemoteState | None, PatientSink | None]:
    """The shared state, also as that of another machine if it is one, and the sink of records.

    Raises PassingError where the store cannot be used now. A server that does not respond is no reason not to start.
    """
    use = StateUse(
        HOLD_S,
        is_needed=lambda: reloader.current.keys.have_limits,
        rules=lambda: reloader.current.config.state,
        workers=options.workers,
    )
    try:
        remote = backend.remote_state(use)
        state = remote or backend.shared_state(use)
        keep_days = reloader.current.config.records.keep_days
        return state, remote, PatientSink(backend.record_sink(keep_days)) if options.records else None
    except ForeignDatabaseError:
        raise
    except FileError as error:
        raise PassingError(str(error)) from None


def _is_local(host: str) -> bool:
    return is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")


def _card_lookup(reloader: ConfigReloader) -> Callable[[str], Card | None]:
    def card(id_: str) -> Card | None:
        catalog = reloader.current.router.catalog
        position = catalog.position(id_)
        return None if position is None else catalog[position]

    return card
