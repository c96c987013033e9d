"""Prometheus metrics, fed by records. A name that a client gave never becomes a label."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from router import __version__
from router.errors import did_you_mean
from router.gateway.telemetry.access_log import word
from router.gateway.telemetry.counters import Counters, Histograms, Merge, SharedFolder, Snapshot, merged, snapshot_of
from router.store.records.record import Record
from router.types import Outcome

# The advice of OpenTelemetry's GenAI conventions for whole answers and for first tokens, with longer ones added.
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
_FIRST_TOKEN_S = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
_OVERHEAD_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0)
_QUALITY = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Beyond these an upstream has counted wrongly, and sums of floats lose what is added to them.
_MOST_TOKENS, _MOST_USD, _MOST_MS = 10**9, 1e6, 1e9


class MetricSpec(Struct, frozen=True):
    """A metric as Prometheus knows it; a counter's name has its `_total` added there."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


COUNTERS = {
    shown.name: shown
    for shown in (
        MetricSpec("pulvinar_requests", "Requests answered.", ("surface", "card", "policy", "status")),
        MetricSpec("pulvinar_tokens", "Tokens that upstreams counted.", ("card", "direction")),
        MetricSpec("pulvinar_cached_input_tokens", "Input tokens read from a prompt cache.", ("card",)),
        MetricSpec("pulvinar_cost_usd", "What was spent, in US dollars.", ("card", "key")),
        MetricSpec("pulvinar_streams_broken", "Streams that ended with an error after they had begun.", ("card",)),
        MetricSpec(
            "pulvinar_upstream_attempts", "Calls to upstreams; no fault where all went well.", ("card", "fault")
        ),
        MetricSpec("pulvinar_decisions", "Choices made.", ("policy", "guard")),
    )
}
HISTOGRAMS = {
    shown.name: shown
    for shown in (
        MetricSpec("pulvinar_request_duration_seconds", "Time to the last byte.", ("surface", "card"), _DURATION_S),
        MetricSpec("pulvinar_time_to_first_token_seconds", "Time to the first content.", ("card",), _FIRST_TOKEN_S),
        MetricSpec("pulvinar_overhead_seconds", "What the gateway took before the first call.", (), _OVERHEAD_S),
        MetricSpec("pulvinar_forecast_quality", "Quality expected of the chosen card.", ("policy",), _QUALITY),
    )
}


class Gauge(Struct, frozen=True):
    """A number that the gateway tells when asked, and what is shown of several workers' numbers."""

    name: str
    documentation: str
    merge: Merge = "sum"
    counter: bool = False


GAUGES: Mapping[str, Gauge] = {
    "in_flight": Gauge("pulvinar_requests_in_flight", "Requests being answered now."),
    "queued": Gauge("pulvinar_requests_queued", "Requests that wait until an upstream may be called."),
    "cooling": Gauge("pulvinar_deployments_cooling", "Deployments that rest after failures.", "max"),
    "callable": Gauge("pulvinar_cards_callable", "Cards that can be called now.", "min"),
    "config_version": Gauge("pulvinar_config_version", "The configuration in force, counted from the start.", "min"),
    "config_ok": Gauge("pulvinar_config_last_reload_ok", "1, or 0 where the last edit was refused.", "min"),
    "records_dropped": Gauge("pulvinar_records_dropped", "Records that a full queue did not take.", counter=True),
    "log_dropped": Gauge("pulvinar_access_log_dropped", "Lines that the access log did not write.", counter=True),
}
"""What may be read, by the names that `Metrics` takes."""


class Metrics:
    """Counts what records tell, and shows it together with `readings`, callables by the names in READINGS.

    Each of several workers makes its own with the same `folder`, which is theirs alone, and calls `share` every second
    or so: then any of them shows the sums of all. What a killed worker counted since its last `share` is lost.
    """

    def __init__(self, readings: Mapping[str, Callable[[], float]] | None = None, folder: Path | None = None) -> None:
        self._readings = dict(readings or {})
        for name in self._readings:
            if name not in GAUGES:
                raise ValueError(f'there is no reading "{name}"{did_you_mean(name, GAUGES)}')
        self._board = None if folder is None else SharedFolder(folder)
        self._counts = {name: Counters() for name in COUNTERS}
        self._spreads = {name: Histograms(shown.bounds) for name, shown in HISTOGRAMS.items()}
        self._requests = self._counts["pulvinar_requests"].add
        self._tokens = self._counts["pulvinar_tokens"].add
        self._cached = self._counts["pulvinar_cached_input_tokens"].add
        self._cost = self._counts["pulvinar_cost_usd"].add
        self._attempts = self._counts["pulvinar_upstream_attempts"].add
        self._broken = self._counts["pulvinar_streams_broken"].add
        self._decisions = self._counts["pulvinar_decisions"].add
        self._durations = self._spreads["pulvinar_request_duration_seconds"].observe
        self._first_tokens = self._spreads["pulvinar_time_to_first_token_seconds"].observe
        self._overheads = self._spreads["pulvinar_overhead_seconds"].observe
        self._qualities = self._spreads["pulvinar_forecast_quality"].observe

    def sink(self, record: Record) -> None:
        """Count the record."""
        outcome, decision = record.outcome, record.decision
        card = outcome.card or ""
        policy = "" if decision is None else decision.policy
        self._requests((record.surface, card, policy, str(outcome.status)))
        if outcome.error and outcome.status < 400:
            self._broken((card,))
        if 0 <= outcome.total_ms < _MOST_MS:
            self._durations((record.surface, card), outcome.total_ms / 1000)
        if outcome.ttft_ms is not None and 0 <= outcome.ttft_ms < _MOST_MS:
            self._first_tokens((card,), outcome.ttft_ms / 1000)
        if outcome.attempts:
            if 0 <= outcome.overhead_ms < _MOST_MS:
                self._overheads((), outcome.overhead_ms / 1000)
            for attempt in outcome.attempts:
                self._attempts((attempt.card, word(attempt.fault) if attempt.fault else ""))
            self._count_usage(outcome, card, record.key or "")
        if decision is not None:
            self._decisions((policy, decision.guard))
            self._qualities((policy,), decision.quality)

    def share(self) -> None:
        """Leave for the other workers what this one has counted and reads; nothing where there is one worker."""
        if self._board is not None:
            self._board.write(self._snapshot())

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """The content type and the text, in OpenMetrics where the Accept header asks for it. Any thread may call it."""
        snapshot = self._snapshot()
        registry = CollectorRegistry()
        if self._board is None:
            ProcessCollector(registry=registry)
        else:
            # Written before it is shown: else a worker asked next would show less, which looks like a restart.
            self._board.write(snapshot)
            how = {name: reading.merge for name, reading in GAUGES.items()}
            snapshot = merged([snapshot, *self._board.others()], how)
        registry.register(_Families(snapshot))
        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)

    def _count_usage(self, outcome: Outcome, card: str, key: str) -> None:
        usage = outcome.usage
        if usage is not None:
            if 0 < usage.input_tokens < _MOST_TOKENS:
                self._tokens((card, "input"), usage.input_tokens)
            if 0 < usage.output_tokens < _MOST_TOKENS:
                self._tokens((card, "output"), usage.output_tokens)
            if 0 < usage.cached_input_tokens < _MOST_TOKENS:
                self._cached((card,), usage.cached_input_tokens)
        if outcome.cost_usd is not None and 0 < outcome.cost_usd < _MOST_USD:
            self._cost((card, key), outcome.cost_usd)

    def _snapshot(self) -> Snapshot:
        return snapshot_of(self._counts, self._spreads, ((name, read()) for name, read in self._readings.items()))


class _Families(Collector):
    """A snapshot in prometheus_client's terms."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("pulvinar_build", "What runs.", {"version": __version__})
        for name, value in self._snapshot.readings.items():
            reading = GAUGES[name]
            kind = CounterMetricFamily if reading.counter else GaugeMetricFamily
            yield kind(reading.name, reading.documentation, value=value)
        for name, shown in COUNTERS.items():
            counter = CounterMetricFamily(name, shown.documentation, labels=shown.labels)
            for labels, value in self._snapshot.counts[name].items():
                counter.add_metric(labels, value)
            yield counter
        for name, shown in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, shown.documentation, labels=shown.labels)
            bounds = [*map(floatToGoString, shown.bounds), "+Inf"]
            for labels, (*buckets, total) in self._snapshot.spreads[name].items():
                histogram.add_metric(labels, list(zip(bounds, itertools.accumulate(buckets), strict=True)), total)
            yield histogram
