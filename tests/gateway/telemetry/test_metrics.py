"""/metrics, read back with the parsers of prometheus_client."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from router.gateway.telemetry.metrics import POLLED_METRICS, AdapterCounts, Metrics
from router.gateway.telemetry.specs import COUNTERS, GAUGES, HISTOGRAMS
from router.store.records.record import Record, ShadowRecord, Side
from router.types import Attempt, Outcome, Usage
from tests.gateway.servers import gateway_server
from tests.gateway.telemetry.records import a_record, records

DOCUMENTED = Path(__file__).parents[3] / "docs" / "operations.md"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    families = read_text(asyncio.run(metrics.exposition())[1].decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def sample_of(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def after(*seen: Record) -> Metrics:
    metrics = Metrics()
    for record in seen:
        metrics.sink(record)
    return metrics


def test_a_request_is_counted_by_surface_card_policy_and_status() -> None:
    labels = {"surface": "chat", "card": "qwen3-8b", "policy": "cheap"}
    metrics = after(a_record(), a_record(), a_record(status=504))
    assert sample_of(metrics, "pulvinar_requests_total", **labels, status="200") == 2
    assert sample_of(metrics, "pulvinar_requests_total", **labels, status="504") == 1


def test_an_answer_for_nobody_costs_money_and_is_no_request() -> None:
    pair = ShadowRecord("req_1", "cheap", Side("llama-3-8b", 5, 9.0))
    metrics = after(a_record(surface="shadow", decision=None, shadow=pair, status=502))
    counted = {name for name, _ in samples(metrics)}
    assert "pulvinar_cost_usd_total" in counted
    assert "pulvinar_upstream_attempts_total" in counted
    assert not counted & {"pulvinar_requests_total", "pulvinar_request_duration_seconds_count"}


def test_times_are_in_seconds() -> None:
    metrics = after(a_record())
    assert sample_of(metrics, "pulvinar_request_duration_seconds_sum", surface="chat", card="qwen3-8b") == 0.9123456
    assert sample_of(metrics, "pulvinar_time_to_first_token_seconds_sum", card="qwen3-8b") == 0.2105
    assert sample_of(metrics, "pulvinar_overhead_seconds_sum") == pytest.approx(0.0004123)


def test_buckets_are_cumulative_and_end_with_the_total() -> None:
    metrics = after(*(a_record(total_ms=total_ms) for total_ms in (5.0, 15.0, 1e6)))
    name = "pulvinar_request_duration_seconds"
    labels = {"surface": "chat", "card": "qwen3-8b"}
    assert [sample_of(metrics, f"{name}_bucket", **labels, le=le) for le in ("0.01", "0.02", "327.68", "+Inf")] == [
        1,
        2,
        2,
        3,
    ]
    assert sample_of(metrics, f"{name}_count", **labels) == 3


def test_tokens_and_cost_are_counted_for_the_card_that_answered_and_the_key() -> None:
    metrics = after(a_record(), a_record())
    assert sample_of(metrics, "pulvinar_tokens_total", card="qwen3-8b", direction="input") == 2400
    assert sample_of(metrics, "pulvinar_tokens_total", card="qwen3-8b", direction="output") == 160
    assert sample_of(metrics, "pulvinar_cached_input_tokens_total", card="qwen3-8b") == 2000
    assert sample_of(metrics, "pulvinar_cost_usd_total", card="qwen3-8b", key="team-a") == pytest.approx(2.46913578e-4)


def test_every_upstream_call_is_counted_with_its_fault() -> None:
    metrics = after(a_record())
    assert sample_of(metrics, "pulvinar_upstream_attempts_total", card="llama-3-8b", fault="rate_limited") == 1
    assert sample_of(metrics, "pulvinar_upstream_attempts_total", card="qwen3-8b", fault="") == 1


def test_broken_streams_are_counted() -> None:
    metrics = after(a_record(), a_record(error="upstream_unreachable"), a_record(status=502, error="upstream_timeout"))
    assert sample_of(metrics, "pulvinar_streams_broken_total", card="qwen3-8b") == 1


def test_decisions_are_counted_with_their_guard_and_forecast() -> None:
    metrics = after(a_record())
    assert sample_of(metrics, "pulvinar_decisions_total", policy="cheap", guard="off") == 1
    assert sample_of(metrics, "pulvinar_forecast_quality_sum", policy="cheap") == 0.62


def test_a_request_rejected_before_any_upstream_call_has_no_card_and_no_overhead() -> None:
    refused = Record("r", 0.0, "messages", "gpt-9", False, Outcome(404, 0.2, error="model_not_found"))
    metrics = after(refused)
    assert sample_of(metrics, "pulvinar_requests_total", surface="messages", card="", policy="", status="404") == 1
    assert sample_of(metrics, "pulvinar_overhead_seconds_count") is None


@given(st.text(max_size=300), st.text(max_size=300))
def test_text_from_clients_and_upstreams_never_becomes_a_label(model: str, fault: str) -> None:
    attempt = Attempt("qwen3-8b", "qwen3-8b", 500, 1.0, fault or None)
    metrics = after(a_record(asked=f"client {model}", session=f"client {model}", attempts=(attempt,), error="client x"))
    labels = {value for _, labels in samples(metrics) for _, value in labels}
    assert not any("client" in value for value in labels)
    assert all(re.fullmatch(r"[\w.:+/-]{0,128}", value, re.ASCII) for value in labels)


@given(st.lists(records, max_size=5))
def test_no_record_breaks_the_metrics(seen: list[Record]) -> None:
    counted = [value for (name, _), value in samples(after(*seen)).items() if name == "pulvinar_requests_total"]
    assert sum(counted) == len(seen)


def test_impossible_usage_is_not_counted() -> None:
    metrics = after(a_record(usage=Usage(-5, 10**400, 10**30), cost_usd=float("nan")))
    names = {name for name, _ in samples(metrics)}
    assert not names & {"pulvinar_tokens_total", "pulvinar_cached_input_tokens_total", "pulvinar_cost_usd_total"}


def test_polled_metrics_are_read_at_exposition() -> None:
    value = 1.0
    metrics = Metrics({"in_flight": lambda: value, "records_dropped": lambda: value})
    assert sample_of(metrics, "pulvinar_requests_in_flight") == 1
    value = 4.0
    assert sample_of(metrics, "pulvinar_requests_in_flight") == 4
    assert sample_of(metrics, "pulvinar_records_dropped_total") == 4


def _on_the_event_loop() -> float:
    """Raises RuntimeError elsewhere."""
    return asyncio.get_running_loop().is_running()


def test_polled_metrics_are_read_on_the_event_loop_which_changes_what_they_read(tmp_path: Path) -> None:
    with gateway_server(polled={"connections": _on_the_event_loop}) as url:
        response = httpx.get(f"{url}/metrics", trust_env=False)
    assert response.status_code == 200
    assert "pulvinar_connections_open 1.0" in response.text
    asyncio.run(Metrics({"connections": _on_the_event_loop}, tmp_path).share())
    assert list(tmp_path.glob("*.snapshot"))


def test_an_unknown_polled_metric_is_rejected() -> None:
    with pytest.raises(ValueError, match='did you mean "in_flight"'):
        Metrics({"in_fligth": lambda: 0.0})


def test_the_version_and_process_metrics_are_exposed() -> None:
    names = {name for name, _ in samples(Metrics())}
    assert {"pulvinar_build_info", "process_resident_memory_bytes", "process_open_fds"} <= names


def test_two_gateways_in_one_process_count_separately() -> None:
    first, second = after(a_record()), after()
    labels = {"surface": "chat", "card": "qwen3-8b", "policy": "cheap", "status": "200"}
    assert sample_of(first, "pulvinar_requests_total", **labels) == 1
    assert sample_of(second, "pulvinar_requests_total", **labels) is None


# What Prometheus 3 sends.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def test_prometheus_gets_openmetrics() -> None:
    content_type, text = asyncio.run(after(a_record()).exposition(PROMETHEUS))
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family.type for family in read_openmetrics(text.decode())}
    assert families["pulvinar_requests"] == "counter"
    assert families["pulvinar_request_duration_seconds"] == "histogram"


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain", "application/openmetrics-text;version=0.0.1"])
def test_without_openmetrics_in_accept_the_format_is_plain_text(accept: str) -> None:
    content_type, text = asyncio.run(after(a_record()).exposition(accept))
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert list(read_text(text.decode()))


def _count_in_a_worker(folder: Path, requests: int, in_flight: float) -> None:
    metrics = Metrics({"in_flight": lambda: in_flight, "callable": lambda: in_flight}, folder)
    for _ in range(requests):
        metrics.sink(a_record())
    asyncio.run(metrics.share())


@pytest.fixture
def two_workers(tmp_path: Path) -> Path:
    """A folder with the snapshots of two worker processes."""
    processes = multiprocessing.get_context("spawn")
    workers: list[Any] = [
        processes.Process(target=_count_in_a_worker, args=(tmp_path, requests, 2.0 * requests)) for requests in (3, 4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    return tmp_path


def test_any_worker_exposes_the_sums_of_all(two_workers: Path) -> None:
    metrics = Metrics({"in_flight": lambda: 1.0, "callable": lambda: 1.0}, two_workers)
    metrics.sink(a_record())
    labels = {"surface": "chat", "card": "qwen3-8b", "policy": "cheap", "status": "200"}
    assert sample_of(metrics, "pulvinar_requests_total", **labels) == 8
    assert sample_of(metrics, "pulvinar_overhead_seconds_count") == 8
    assert sample_of(metrics, "pulvinar_requests_in_flight") == 15
    assert sample_of(metrics, "pulvinar_cards_callable") == 1


def test_sums_never_decrease_from_one_worker_to_the_next(tmp_path: Path) -> None:
    first, second = Metrics(folder=tmp_path), Metrics(folder=tmp_path)
    first.sink(a_record())
    before = samples(first)
    after_it = samples(second)
    counted = {sample for sample in before if sample[0].startswith("pulvinar")}
    assert counted
    assert all(after_it[sample] >= before[sample] for sample in counted)


def test_a_single_worker_writes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.run(after(a_record()).share())
    assert list(tmp_path.iterdir()) == []


def test_every_metric_is_documented_with_its_labels() -> None:
    documentation = DOCUMENTED.read_text("utf-8")
    for spec in COUNTERS.values():
        labels = ", ".join(spec.labels)
        assert f"| `{spec.name}_total` | {labels} |" in documentation
    for spec in GAUGES.values():
        assert f"| `{spec.name}` (server) |" in documentation
    for spec in HISTOGRAMS.values():
        assert f"| `{spec.name}` | {', '.join(spec.labels)} |" in documentation
    for metric in POLLED_METRICS.values():
        assert f"`{metric.name}{'_total' if metric.is_counter else ''}`" in documentation


def test_what_servers_of_adapters_hold_is_exposed_by_server() -> None:
    metrics = Metrics()
    metrics.note_adapters([AdapterCounts("base#1", 8, 3, 40, 9, 6, 2, 1, 4.5)])
    expected = {
        "pulvinar_adapters_resident": 3,
        "pulvinar_adapter_slots": 8,
        "pulvinar_adapter_hits_total": 40,
        "pulvinar_adapter_loads_total": 9,
        "pulvinar_adapter_evictions_total": 6,
        "pulvinar_adapter_waits_total": 2,
        "pulvinar_adapter_failures_total": 1,
        "pulvinar_adapter_load_seconds_total": 4.5,
    }
    assert {name: sample_of(metrics, name, server="base#1") for name in expected} == expected


def test_of_what_several_workers_see_of_a_server_the_greatest_counts(tmp_path: Path) -> None:
    first, second = Metrics(folder=tmp_path), Metrics(folder=tmp_path)
    first.note_adapters([AdapterCounts("base#1", 8, 3, 40, 9, 6, 2, 1, 4.5)])
    second.note_adapters([AdapterCounts("base#1", 8, 5, 10, 1, 0, 0, 0, 0.5)])
    asyncio.run(first.share())
    asyncio.run(second.share())
    assert sample_of(first, "pulvinar_adapters_resident", server="base#1") == 5
    assert sample_of(first, "pulvinar_adapter_hits_total", server="base#1") == 50
