"""The state of one worker process: configuration, dispatcher, queues, stores and telemetry."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router.cards import Card
from router.compose.gate import Gate
from router.compose.runner import PlanRunner
from router.dispatch import Dispatcher, DispatchSettings
from router.dispatch.bounds.admission import Admission
from router.dispatch.bounds.body_memory import BodyMemory
from router.gateway.background import kept_running, learn_last
from router.gateway.config.artifact import ActiveArtifact
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.reload import ActiveConfig, ConfigReloader
from router.gateway.cooldowns import SharedCooldowns
from router.gateway.endpoints.models import ModelList
from router.gateway.endpoints.services import Services
from router.gateway.http.client.address import TrustedProxies
from router.gateway.http.origins import Visitors
from router.gateway.learning.drift import DriftWatch
from router.gateway.learning.judges import Judges
from router.gateway.learning.learner import Learner
from router.gateway.learning.memories import Memories
from router.gateway.learning.promoted import PromotedArtifact
from router.gateway.learning.traffic import gap_watch, traffic_watch
from router.gateway.offpath.shadow import Shadows
from router.gateway.offpath.work import OffPath
from router.gateway.polled import polled_metrics
from router.gateway.residency import SharedResidency
from router.gateway.routing.adapters import AdapterServers
from router.gateway.routing.availability import AvailabilityMonitor, Probe, no_probe
from router.gateway.routing.recorder import Recorder
from router.gateway.routing.selection import Selector
from router.gateway.routing.sessions import Sessions
from router.gateway.routing.trials.canaries import Canaries
from router.gateway.routing.trials.experiments import Experiments
from router.gateway.routing.trials.explorer import Explorer
from router.gateway.telemetry.access_log import AccessLog
from router.gateway.telemetry.batch import RecordBatch
from router.gateway.telemetry.metrics import Metrics
from router.learn.online.outcomes import Lesson
from router.loading import load_predictor
from router.store.backend import Backend
from router.store.records.feedback import Feedback, Stored
from router.store.records.protocol import RecordSink
from router.store.records.record import Record, Snapshot
from router.store.state.dollars import DailyDollars
from router.store.state.protocol import Conversations, RemoteState, StateStore
from router.store.state.sqlite import SqliteState

if TYPE_CHECKING:
    from router.gateway.telemetry.spans import Traces

_SHARE_METRICS_EVERY_S = 1.0
_NOT_KEPT = frozenset({"metrics", "dashboard"})
_SWEEP_ADAPTERS_EVERY_S, _EXPIRE_ADAPTERS_EVERY_S = 5.0, 0.5


class Gateway:
    """Everything that one worker needs to answer requests. Create it before its event loop runs; use it on that loop.

    `state` counts each key's requests and costs, by default in memory; `remote` is the same where it is on another
    machine. `conversations` remembers which card answers a conversation, by default in `state`. `probe` checks at the
    start, and then periodically, which cards cannot be called. Without a `journal` nothing is recorded; `backend` is
    where that can be read. `metrics_folder` is shared by the workers of one gateway. `polled` are further callbacks of
    metrics. `artifact` is the predictor that `reloader` loads, which a promotion may replace. `notify` gets a line for
    the operator when the available cards change.
    """

    def __init__(
        self,
        reloader: ConfigReloader,
        *,
        probe: Probe = no_probe,
        gate: Gate | None = None,
        state: StateStore | None = None,
        conversations: Conversations | None = None,
        remote: RemoteState | None = None,
        journal: RecordSink | None = None,
        backend: Backend | None = None,
        access_log: AccessLog | None = None,
        traces: Traces | None = None,
        metrics_folder: Path | None = None,
        polled: Mapping[str, Callable[[], float]] | None = None,
        artifact: ActiveArtifact | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.reloader, self.journal, self.backend = reloader, journal, backend
        self.state: StateStore = state or SqliteState()
        self.remote = remote
        self.access_log, self.traces = access_log, traces
        self.is_draining = False
        config = reloader.current.config
        self.dispatcher = Dispatcher(_dispatch_settings(config))
        self.admission = Admission(config.max_concurrency, config.queue, config.shares)
        self.bodies = BodyMemory(config.body_memory_bytes, config.queue, config.shares.key)
        self.availability = AvailabilityMonitor(reloader.current.router.catalog, probe, notify)
        self.dispatcher.pool.share_among(self._callable_cards)
        self.canaries = Canaries(
            self.state,
            lambda: reloader.current.router.catalog,
            several_keys=lambda: len(reloader.current.keys) > 1,
        )
        self.memories = Memories(self.state, lambda: reloader.current)
        # A process that is alone shares nothing.
        others = self.state if remote is not None or metrics_folder is not None else None
        self.cooldowns = SharedCooldowns(self.dispatcher.pool, others, lambda: reloader.current.router.catalog)
        self.residency = SharedResidency(self.dispatcher.adapters, others)
        self.drift = DriftWatch(self.state, self.memories.basis, lambda: len(reloader.current.keys) > 1)
        self.promoted = PromotedArtifact(
            self.state,
            artifact or ActiveArtifact(reloader.current.router.predictor),
            reloader,
            load_predictor,
            lambda: len(reloader.current.keys) > 1,
        )
        read_records = None if backend is None else backend.read_records
        self.traffic = traffic_watch(self.state, read_records, lambda: reloader.current.router.predictor)
        self.gaps = gap_watch(self.state, read_records, lambda: reloader.current.router, self._has_room)
        self.experiments = Experiments(self.state, lambda: reloader.current, read_records)
        self.metrics = Metrics({**polled_metrics(self), **(polled or {})}, metrics_folder)
        self.learner = Learner(
            self.memories,
            lambda: reloader.current,
            read_records,
            self.metrics.count_judgement,
            watch=self._watch,
            take_waiting=None if backend is None else functools.partial(_taken, backend),
        )
        self.judges = Judges(
            self.dispatcher,
            self.state,
            lambda: reloader.current,
            self.learner.judged,
            None if backend is None else backend.feedback,
            self.metrics.count_verdict,
        )
        self.off_path = OffPath(self._has_room, lambda: self.waiting > 0)
        self.models = _model_list(reloader.current)
        self.has_other_workers = metrics_folder is not None
        self.adapter_servers = self._adapter_servers(reloader.current)
        write_lines = access_log.write if access_log is not None else _write_nothing
        self.batch = RecordBatch(write_lines, self.metrics.sink, self.learner.sink, self.cooldowns.sink)
        runner = PlanRunner(self.dispatcher, gate)
        sessions, explorer = Sessions(conversations or self.state), Explorer(self.state)
        self.visitors, self.proxies = _visitors(reloader.current), TrustedProxies(config.trusted_proxies)
        self.services = Services(
            reloader=reloader,
            selector=Selector(
                self.availability,
                self.dispatcher.pool,
                sessions,
                self.canaries,
                self.memories,
                explorer,
                self.experiments,
            ),
            dispatcher=self.dispatcher,
            runner=runner,
            admission=self.admission,
            bodies=self.bodies,
            state=self.state,
            sessions=sessions,
            recorder=Recorder(self._store_snapshot),
            learner=self.learner,
            judges=self.judges,
            shadows=Shadows(
                self.dispatcher,
                runner,
                self.off_path,
                DailyDollars(self.state),
                self._write,
                self.metrics.count_shadow,
            ),
            sinks=(self._store_record, self._count_trial, self.batch.add),
            traces=traces,
        )
        reloader.on_change = self._apply_config

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks; at the end, stop them and close everything."""
        await self.availability.probe_now()
        await self.canaries.refresh()
        await self.memories.refresh()
        await self.drift.refresh()
        await self.promoted.refresh()
        await self.experiments.refresh()
        self._preload()
        background = (
            self.availability.run,
            self.reloader.watch,
            self.state.maintain,
            self._share_metrics,
            self.canaries.run,
            self.memories.run,
            self.experiments.run,
            self.learner.run,
            self.drift.run,
            self.promoted.run,
            self.learner.watch,
            self.judges.run,
            self.off_path.run,
            self.traffic.run,
            self.gaps.run,
            self._sweep_adapters,
            self._expire_adapters,
            self.cooldowns.run,
            self.residency.run,
        )
        tasks = [asyncio.create_task(kept_running(run)) for run in background]
        try:
            yield
        finally:
            self.batch.flush()
            await learn_last(self.judges, self.learner)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.batch.flush()
            await self.dispatcher.aclose()
            await asyncio.to_thread(self._close)

    @property
    def config(self) -> GatewayConfig:
        """The current settings."""
        return self.reloader.current.config

    @property
    def waiting(self) -> int:
        """How many requests wait for a place or a deployment."""
        return self.admission.waiting + self.dispatcher.pool.waiting

    async def _write(self, record: Record) -> None:
        await self.services.write(record)

    def _has_room(self) -> bool:
        """Whether there is room for work that no client waits for."""
        is_idle = not self.waiting and self.admission.running <= self.admission.max_running / 2
        return is_idle and not self.is_draining

    @property
    def limits_problem(self) -> str | None:
        """Why the limits of keys cannot be kept at present; None where they can, or no key has any."""
        return self.state.problem if self.reloader.current.keys.have_limits else None

    @property
    def records_problem(self) -> str | None:
        """Why records wait in the journal at present, if they do."""
        return None if self.journal is None else self.journal.problem

    def _watch(self, lesson: Lesson) -> None:
        self.drift.add(lesson)
        self.promoted.watch(lesson)

    def count_feedback(self, stored: Stored) -> None:
        """Count feedback that is new, export it as an event, and learn from it."""
        # The feedback may be about the newest record.
        self.batch.flush()
        self.metrics.count_feedback(stored)
        self.learner.feedback(stored)
        if self.traces is not None:
            self.traces.evaluated(stored)

    def live_state(self) -> dict[str, object]:
        """What operators watch: changes with every moment."""
        return {
            "in_flight": self.admission.running,
            "queued": self.waiting,
            "callable": self.availability.callable_cards,
            "cooling": dict(self.dispatcher.pool.cooling_down()),
            "configuration": self.reloader.current.number,
            "refused_edit": self.reloader.problem,
            "limits_problem": self.limits_problem,
            "records_problem": self.records_problem,
            "records_dropped": 0 if self.journal is None else self.journal.dropped,
            "is_draining": self.is_draining,
        }

    def _close(self) -> None:
        if self.journal is not None:
            self.journal.close()
        if self.access_log is not None:
            self.access_log.close()
        if self.traces is not None:
            self.traces.close()
        self.state.close()

    def _apply_config(self, active: ActiveConfig) -> None:
        config = active.config
        self.models = _model_list(active)
        self.adapter_servers = self._adapter_servers(active)
        self.visitors, self.proxies = _visitors(active), TrustedProxies(config.trusted_proxies)
        self.dispatcher.configure(_dispatch_settings(config))
        self.admission.max_running, self.admission.limits = config.max_concurrency, config.queue
        self.admission.shares = config.shares
        self.bodies.max_bytes, self.bodies.limits = config.body_memory_bytes, config.queue
        self.bodies.share = config.shares.key
        self.availability.set_catalog(active.router.catalog)
        self._preload()
        if self.journal is not None:
            self.journal.keep_days = config.records.keep_days

    def _adapter_servers(self, active: ActiveConfig) -> AdapterServers:
        """The servers of adapters, of which the dispatcher knows from now on. An adapter without a card is unloaded."""
        catalog = active.router.catalog
        self.dispatcher.adapters.configure(catalog)
        return AdapterServers(catalog, self.dispatcher.adapters)

    def _callable_cards(self) -> Iterable[Card]:
        unavailable = self.availability.unavailable
        return [card for card in self.reloader.current.router.catalog if card.id not in unavailable]

    def _preload(self) -> None:
        self.dispatcher.preload(self._callable_cards())

    def _store_record(self, record: Record) -> Awaitable[None] | None:
        # Unauthenticated clients, whose requests reach no upstream, could otherwise fill the disk.
        is_unauthenticated = record.outcome.status == 401 and not record.outcome.attempts
        # These are read every few seconds, and say nothing about the use of models.
        is_kept = not is_unauthenticated and record.surface not in _NOT_KEPT
        if self.journal is None or not self.reloader.current.config.records.enabled or not is_kept:
            return None
        # Addresses are kept as long as the operator keeps the log, not with the records.
        return self.journal.append(msgspec.structs.replace(record, client=None))

    def _count_trial(self, record: Record) -> Awaitable[None] | None:
        is_on_trial = record.decision is not None and record.decision.canary is not None
        return self.canaries.sink(record) if is_on_trial else None

    def _store_snapshot(self, snapshot: Snapshot) -> bool:
        if self.journal is None or not self.reloader.current.config.records.enabled:
            return True
        return self.journal.keep(snapshot)

    async def _sweep_adapters(self) -> None:
        """Ask servers what they hold. Readiness does not depend on it."""
        while True:
            if len(self.adapter_servers):
                await self.dispatcher.adapters.sweep()
            await asyncio.sleep(_SWEEP_ADAPTERS_EVERY_S)

    async def _expire_adapters(self) -> None:
        """Unload adapters after their time, whatever other servers do meanwhile."""
        while True:
            await asyncio.sleep(_EXPIRE_ADAPTERS_EVERY_S)
            if len(self.adapter_servers):
                await self.dispatcher.adapters.expire()
                self.note_adapters()

    def note_adapters(self) -> None:
        """Bring the metrics of adapters up to date."""
        self.metrics.note_adapters(self.adapter_servers.counts())

    async def _share_metrics(self) -> None:
        while True:
            await asyncio.sleep(_SHARE_METRICS_EVERY_S)
            await self.metrics.share()


def _taken(backend: Backend, limit: int) -> list[Feedback]:
    with backend.feedback() as store:
        return store.take_waiting(limit)


def _model_list(active: ActiveConfig) -> ModelList:
    return ModelList(active.router.catalog, active.router.policies, active.aliases, active.router.plans, active.keys)


def _visitors(active: ActiveConfig) -> Visitors:
    config = active.config
    return Visitors(not active.keys, config.allowed_hosts, config.cors.origins)


def _write_nothing(_: object) -> None:
    """Without an access log."""


def _dispatch_settings(config: GatewayConfig) -> DispatchSettings:
    return DispatchSettings(
        timeouts=config.timeouts,
        cooldown=config.cooldown,
        queue=config.queue,
        retries=config.retries,
        retry_budget=config.retry_budget,
        forward_headers=config.forward_headers,
        fetch_hosts=config.fetch_hosts,
        http2=config.http2,
    )
