"""Metrics as the text that Prometheus reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

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
from router.gateway.telemetry.counters import MetricsSnapshot
from router.gateway.telemetry.specs import COUNTERS, GAUGES, HISTOGRAMS

if TYPE_CHECKING:
    from router.gateway.telemetry.metrics import PolledMetric


def exposed(
    snapshot: MetricsSnapshot, polled: Mapping[str, PolledMetric], accept: str, *, of_process: bool
) -> tuple[str, bytes]:
    """The content type and the text of a snapshot, in OpenMetrics if the Accept header asks for it; `of_process`: with
    the metrics of this process.
    """
    registry = CollectorRegistry()
    if of_process:
        ProcessCollector(registry=registry)
    registry.register(_Families(snapshot, polled))
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


class _Families(Collector):
    """A snapshot as metric families of prometheus_client."""

    def __init__(self, snapshot: MetricsSnapshot, polled: Mapping[str, PolledMetric]) -> None:
        self._snapshot, self._polled = snapshot, polled

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("pulvinar_build", "The version.", {"version": __version__})
        for name, value in self._snapshot.polled.items():
            metric = self._polled[name]
            kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
            yield kind(metric.name, metric.documentation, value=value)
        for name, spec in GAUGES.items():
            if values := self._snapshot.gauges.get(name):
                gauge = GaugeMetricFamily(name, spec.documentation, labels=spec.labels)
                for labels, value in values.items():
                    gauge.add_metric(labels, value)
                yield gauge
        for name, spec in COUNTERS.items():
            counter = CounterMetricFamily(name, spec.documentation, labels=spec.labels)
            for labels, value in self._snapshot.counters[name].items():
                counter.add_metric(labels, value)
            yield counter
        for name, spec in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, spec.documentation, labels=spec.labels)
            bounds = [*map(floatToGoString, spec.bounds), "+Inf"]
            for labels, (*buckets, total) in self._snapshot.histograms[name].items():
                histogram.add_metric(labels, list(zip(bounds, itertools.accumulate(buckets), strict=True)), total)
            yield histogram
