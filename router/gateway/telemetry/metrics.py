"""Prometheus metrics, computed from records. Client-supplied names never become labels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from router.errors import did_you_mean
from router.gateway.telemetry.access_log import safe_code
from router.gateway.telemetry.counters import (
    Counters,
    Histograms,
    Labels,
    Merge,
    MetricsSnapshot,
    SharedFolder,
    merge_snapshots,
    take_snapshot,
)
from router.gateway.telemetry.specs import COUNTERS, GAUGES, HISTOGRAMS
from router.store.records.feedback import Stored
from router.store.records.record import Record
from router.types import Outcome

# Larger values are errors of the upstream, and a float sum would lose precision.
_MAX_TOKENS, _MAX_USD, _MAX_MS = 10**9, 1e6, 1e9


_Value = TypeVar("_Value")
_Polled = Sequence[tuple[str, float]]


class AdapterCounts(Struct, frozen=True):
    """What one server holds, and the counts of this worker. `load_s`: seconds that its loads took together."""

    server: str
    slots: int
    resident: int
    hits: int
    loads: int
    evictions: int
    waits: int
    failures: int
    load_s: float


class PolledMetric(Struct, frozen=True):
    """A metric that a callback returns when metrics are read; `merge` combines the values of several workers."""

    name: str
    documentation: str
    merge: Merge = "sum"
    is_counter: bool = False


POLLED_METRICS: Mapping[str, PolledMetric] = {
    "in_flight": PolledMetric("pulvinar_requests_in_flight", "Requests in progress."),
    "queued": PolledMetric("pulvinar_requests_queued", "Requests waiting for a free slot."),
    "cooling": PolledMetric("pulvinar_deployments_cooling", "Cards cooling down for all clients.", "max"),
    "callable": PolledMetric("pulvinar_cards_callable", "Cards available.", "min"),
    "limits_ok": PolledMetric(
        "pulvinar_limits_ok", "1, or 0 while the limits of keys cannot be kept, and their requests get 503.", "min"
    ),
    "state_reachable": PolledMetric(
        "pulvinar_state_reachable", "1, or 0 while the shared state on another machine does not respond.", "min"
    ),
    "state_denied": PolledMetric(
        "pulvinar_state_denied", "Kinds of counters whose requests get 503 because of that.", "max"
    ),
    "state_failures": PolledMetric(
        "pulvinar_state_failures", "Calls of the shared state that failed or took too long.", is_counter=True
    ),
    "state_alone": PolledMetric(
        "pulvinar_state_alone", "Requests decided without the shared state, by a part of the limit.", is_counter=True
    ),
    "state_waiting": PolledMetric("pulvinar_state_waiting", "Costs that the shared state has not been given yet."),
    "canaries_stopped": PolledMetric("pulvinar_canaries_stopped", "Canaries that were rolled back.", "max"),
    "experiments_stopped": PolledMetric("pulvinar_experiments_stopped", "Experiments that have ended.", "max"),
    "cards_corrected": PolledMetric(
        "pulvinar_cards_corrected", "Cards whose forecasts the error memory corrects for all keys.", "max"
    ),
    "drift_alarms": PolledMetric(
        "pulvinar_drift_alarms", "Changes in the answers of cards that have not ended (route drift).", "max"
    ),
    "artifact_rolled_back": PolledMetric(
        "pulvinar_artifact_rolled_back", "1 while the last promotion of an artifact was rolled back.", "max"
    ),
    "prompts_changed": PolledMetric(
        "pulvinar_prompts_changed",
        "1 where the prompts of the last whole day differ from those of the days before.",
        "max",
    ),
    "judgements_waiting": PolledMetric("pulvinar_judgements_waiting", "Judgements of answers not learned from yet."),
    "config_version": PolledMetric("pulvinar_config_version", "Number of the active configuration, from 1.", "min"),
    "config_ok": PolledMetric(
        "pulvinar_config_last_reload_ok", "1, or 0 after a rejected configuration change.", "min"
    ),
    "records_ok": PolledMetric(
        "pulvinar_records_ok", "1, or 0 while the database of records cannot be written, and they wait.", "min"
    ),
    "records_waiting": PolledMetric(
        "pulvinar_records_waiting_bytes", "Size of the records that wait for the database."
    ),
    "records_dropped": PolledMetric(
        "pulvinar_records_dropped", "Records dropped because the queue was full.", is_counter=True
    ),
    "log_dropped": PolledMetric(
        "pulvinar_access_log_dropped", "Access log lines that were not written.", is_counter=True
    ),
    "error_log_dropped": PolledMetric(
        "pulvinar_error_log_dropped", "Error log lines that were not written, or left out.", is_counter=True
    ),
    "connections": PolledMetric("pulvinar_connections_open", "Open connections of clients."),
    "connections_refused": PolledMetric(
        "pulvinar_connections_refused", "Requests refused because of too many connections.", is_counter=True
    ),
    "connections_evicted": PolledMetric(
        "pulvinar_connections_evicted", "Waiting connections closed in favour of others.", is_counter=True
    ),
    "heads_refused": PolledMetric(
        "pulvinar_heads_refused", "Malformed, too large and too slow heads of requests.", is_counter=True
    ),
}
"""The polled metrics, by the names that `Metrics` accepts."""


class Metrics:
    """Counts records, and exposes the counts together with `callbacks`, by their names in POLLED_METRICS.

    Each of several workers creates its own with the same `folder`, used by nothing else, and calls `share` about once a
    second: any of them then exposes the sums of all. What a killed worker counted since its last `share` is lost. The
    callbacks are called on the event loop, since most read what only that may use; a thread does the rest.
    """

    def __init__(self, callbacks: Mapping[str, Callable[[], float]] | None = None, folder: Path | None = None) -> None:
        self._callbacks = dict(callbacks or {})
        for name in self._callbacks:
            if name not in POLLED_METRICS:
                raise ValueError(f'unknown metric "{name}"{did_you_mean(name, POLLED_METRICS)}')
        self._shared = None if folder is None else SharedFolder(folder)
        self._counters = {name: Counters() for name in COUNTERS}
        self._histograms = {name: Histograms(spec.bounds) for name, spec in HISTOGRAMS.items()}
        self._gauges: dict[str, dict[Labels, float]] = {}
        self._requests = self._counters["pulvinar_requests"].add
        self._tokens = self._counters["pulvinar_tokens"].add
        self._cached = self._counters["pulvinar_cached_input_tokens"].add
        self._cost = self._counters["pulvinar_cost_usd"].add
        self._attempts = self._counters["pulvinar_upstream_attempts"].add
        self._broken = self._counters["pulvinar_streams_broken"].add
        self._canaries = self._counters["pulvinar_canary_requests"].add
        self._decisions = self._counters["pulvinar_decisions"].add
        self._explored = self._counters["pulvinar_explored"].add
        self._durations = self._histograms["pulvinar_request_duration_seconds"].observe
        self._first_tokens = self._histograms["pulvinar_time_to_first_token_seconds"].observe
        self._overheads = self._histograms["pulvinar_overhead_seconds"].observe
        self._qualities = self._histograms["pulvinar_forecast_quality"].observe

    def sink(self, record: Record) -> None:
        """Count the record."""
        outcome, decision = record.outcome, record.decision
        card = outcome.card or ""
        policy = "" if decision is None else decision.policy
        # An answer for nobody costs and calls as any other does, but is no request: its failure must alarm nobody.
        if record.shadow is None:
            self._requests((record.surface, card, policy, str(outcome.status)))
            self._count_answer(record, card)
        if outcome.attempts:
            for attempt in outcome.attempts:
                self._attempts((attempt.card, safe_code(attempt.fault) if attempt.fault else ""))
            self._count_usage(outcome, card, record.key or "")
        if decision is not None:
            self._decisions((policy, decision.guard))
            if (choice := decision.canary) is not None:
                self._canaries((choice.card, choice.of, "yes" if choice.taken else "no"))
            if (exploration := decision.exploration) is not None:
                self._explored((policy, exploration.result))
            if (arm := decision.experiment) is not None:
                self._counters["pulvinar_experiment_requests"].add((arm.name, arm.arm))
            self._qualities((policy,), decision.quality)

    def _count_answer(self, record: Record, card: str) -> None:
        outcome = record.outcome
        if outcome.error and outcome.status < 400:
            self._broken((card,))
        if 0 <= outcome.total_ms < _MAX_MS:
            self._durations((record.surface, card), outcome.total_ms / 1000)
        if outcome.ttft_ms is not None and 0 <= outcome.ttft_ms < _MAX_MS:
            self._first_tokens((card,), outcome.ttft_ms / 1000)
        if outcome.attempts and 0 <= outcome.overhead_ms < _MAX_MS:
            self._overheads((), outcome.overhead_ms / 1000)

    def count_feedback(self, stored: Stored) -> None:
        """Count feedback about an answer of a card."""
        self._histograms["pulvinar_feedback_value"].observe((stored.card,), stored.feedback.value)

    def count_judgement(self, kind: str, result: str) -> None:
        """Count what the error memory did with a judgement."""
        self._counters["pulvinar_judgements"].add((kind, result))

    def count_verdict(self, card: str, result: str, cost_usd: float) -> None:
        """Count the result of an answer that the card was to judge, and its cost."""
        self._counters["pulvinar_judge_answers"].add((card, result))
        if cost_usd:
            self._counters["pulvinar_judge_cost_usd"].add((card,), cost_usd)

    def count_shadow(self, policy: str, result: str) -> None:
        """Count a request that a shadow was to answer."""
        self._counters["pulvinar_shadow_requests"].add((policy, result))

    def note_adapters(self, servers: Iterable[AdapterCounts]) -> None:
        """Take over what servers hold now. A server that is no longer there keeps its counts."""
        gauges: dict[str, dict[Labels, float]] = {name: {} for name in GAUGES}
        for server in servers:
            labels = (server.server,)
            gauges["pulvinar_adapters_resident"][labels] = server.resident
            gauges["pulvinar_adapter_slots"][labels] = server.slots
            for name, value in (
                ("hits", server.hits),
                ("loads", server.loads),
                ("evictions", server.evictions),
                ("waits", server.waits),
                ("failures", server.failures),
                ("load_seconds", server.load_s),
            ):
                self._counters[f"pulvinar_adapter_{name}"].set(labels, value)
        # Replaced, since another thread may read it.
        self._gauges = gauges

    async def share(self) -> None:
        """Write a snapshot for the other workers. Without a folder, do nothing."""
        if self._shared is not None:
            # The file system may be slow, even one of this machine.
            await asyncio.to_thread(self._write_snapshot, self._shared, self._polled())

    async def exposition(self, accept: str = "", hidden: Collection[str] = ()) -> tuple[str, bytes]:
        """The content type and the text, in OpenMetrics if the Accept header asks for it. What has the label of a
        `hidden` card is left out.
        """
        return await asyncio.to_thread(self._exposed, self._polled(), accept, hidden)

    def _polled(self) -> _Polled:
        return [(name, callback()) for name, callback in self._callbacks.items()]

    def _write_snapshot(self, shared: SharedFolder, polled: _Polled) -> MetricsSnapshot:
        snapshot = self._snapshot(polled)
        shared.write(snapshot)
        return snapshot

    def _exposed(self, polled: _Polled, accept: str, hidden: Collection[str]) -> tuple[str, bytes]:
        # Imported at the first scrape, in a thread of its own: it takes a fiftieth of a start.
        from router.gateway.telemetry.exposition import exposed

        if self._shared is None:
            snapshot = self._snapshot(polled)
        else:
            # Write first: otherwise the next worker to be scraped exposes smaller sums, which look like a restart.
            own = self._write_snapshot(self._shared, polled)
            merges = {name: metric.merge for name, metric in POLLED_METRICS.items()}
            snapshot = merge_snapshots([own, *self._shared.others()], merges)
        shown = without_cards(snapshot, hidden) if hidden else snapshot
        return exposed(shown, POLLED_METRICS, accept, of_process=self._shared is None)

    def _count_usage(self, outcome: Outcome, card: str, key: str) -> None:
        usage = outcome.usage
        if usage is not None:
            if 0 < usage.input_tokens < _MAX_TOKENS:
                self._tokens((card, "input"), usage.input_tokens)
            if 0 < usage.output_tokens < _MAX_TOKENS:
                self._tokens((card, "output"), usage.output_tokens)
            if 0 < usage.cached_input_tokens < _MAX_TOKENS:
                self._cached((card,), usage.cached_input_tokens)
        if outcome.cost_usd is not None and 0 < outcome.cost_usd < _MAX_USD:
            self._cost((card, key), outcome.cost_usd)

    def _snapshot(self, polled: _Polled) -> MetricsSnapshot:
        return take_snapshot(self._counters, self._histograms, polled, self._gauges)


def without_cards(snapshot: MetricsSnapshot, hidden: Collection[str]) -> MetricsSnapshot:
    """The snapshot without the counters and histograms that have one of these cards as a label, and without what
    counts them among others.
    """

    def shown(name: str, by_labels: dict[Labels, _Value]) -> dict[Labels, _Value]:
        labels = (COUNTERS.get(name) or HISTOGRAMS[name]).labels
        place = labels.index("card") if "card" in labels else None
        return {names: value for names, value in by_labels.items() if place is None or names[place] not in hidden}

    return MetricsSnapshot(
        snapshot.at,
        {
            name: {} if name.startswith("pulvinar_adapter") else shown(name, counts)
            for name, counts in snapshot.counters.items()
        },
        {name: shown(name, entries) for name, entries in snapshot.histograms.items()},
        {name: value for name, value in snapshot.polled.items() if name not in _COUNT_CARDS},
    )


_COUNT_CARDS = frozenset({"callable", "cooling"})
