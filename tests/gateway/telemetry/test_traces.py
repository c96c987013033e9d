"""OpenTelemetry spans of a request, in process and over OTLP."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from router.cards import Card
from router.cards.servers import Place
from router.errors import MissingExtraError
from router.gateway.telemetry.spans import Traces
from router.gateway.telemetry.traces import open_traces
from router.store.records.record import Record
from router.types import Attempt, CallOutcome, Outcome, Usage
from tests.gateway.telemetry.records import OUTCOME, a_record, records

AT = a_record().at
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CLIENTS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "user-agent": "OpenAI/Python 2.0"}
CARDS = {
    "llama-3-8b": Card(id="llama-3-8b", provider="groq", model="llama3-8b-8192"),
    "qwen3-8b": Card(
        id="qwen3-8b",
        provider="hosted_vllm",
        model="Qwen/Qwen3-8B",
        deployments=(Place("http://10.0.0.1:8000/v1"), Place("https://gpu.example/v1")),
    ),
    "grok": Card(id="grok", provider="xai", model="grok-4"),
}


class MemoryTraces:
    """Traces that are exported to memory."""

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(**options)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = Traces(provider, CARDS.get)

    def request(self, record: Record, headers: dict[str, str] | None = None) -> list[ReadableSpan]:
        """The request's span, then those of its upstream calls, in order."""
        self.traces.begin(headers or {}, record.surface, record.at).end(record)
        return self.spans()

    def spans(self) -> list[ReadableSpan]:
        *calls, request = self._exporter.get_finished_spans()
        return [request, *calls]


@pytest.fixture
def seen() -> MemoryTraces:
    return MemoryTraces()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def span_id(headers: dict[str, str]) -> int:
    return int(headers["traceparent"].split("-")[2], 16)


def test_a_request_is_a_server_span_with_a_client_span_for_each_call(seen: MemoryTraces) -> None:
    request, first, second = seen.request(a_record())
    assert (request.name, request.kind) == ("POST /v1/chat/completions", SpanKind.SERVER)
    assert [(span.name, span.kind) for span in (first, second)] == [
        ("chat llama3-8b-8192", SpanKind.CLIENT),
        ("chat Qwen/Qwen3-8B", SpanKind.CLIENT),
    ]
    assert {span.parent.span_id for span in (first, second) if span.parent} == {request.context.span_id}


def test_the_request_span_has_the_model_the_decision_and_the_cost(seen: MemoryTraces) -> None:
    request, *_ = seen.request(a_record(), CLIENTS)
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "user_agent.original": "OpenAI/Python 2.0",
        "http.response.status_code": 200,
        "pulvinar.request.id": "req_1",
        "pulvinar.key": "team-a",
        "pulvinar.asked": "auto/cheap[size<9B]",
        "pulvinar.card": "qwen3-8b",
        "pulvinar.cost_usd": OUTCOME.cost_usd,
        "pulvinar.overhead_ms": OUTCOME.overhead_ms,
        "pulvinar.retries": 1,
        "pulvinar.policy": "cheap",
        "pulvinar.forecast.quality": 0.62,
    }


@pytest.mark.parametrize(
    ("operation", "method", "route"),
    [
        ("image_generations", "POST", "/v1/images/generations"),
        ("file", "GET", "/v1/files/{id}"),
        ("file_delete", "DELETE", "/v1/files/{id}"),
        ("response_delete", "DELETE", "/v1/responses/{id}"),
        ("response_cancel", "POST", "/v1/responses/{id}/cancel"),
        ("ollama_chat", "POST", "/api/chat"),
    ],
)
def test_a_request_span_has_the_method_and_the_route_of_its_endpoint(
    seen: MemoryTraces, operation: str, method: str, route: str
) -> None:
    request, *_ = seen.request(a_record(surface=operation))
    assert request.name == f"{method} {route}"
    assert attributes(request)["http.request.method"] == method
    assert attributes(request)["http.route"] == attributes(request)["url.path"] == route


def test_a_relayed_call_is_named_after_its_endpoint(seen: MemoryTraces) -> None:
    _, *calls = seen.request(a_record(surface="audio_speech"))
    assert calls[-1].name == "audio_speech Qwen/Qwen3-8B"
    assert attributes(calls[-1])["gen_ai.operation.name"] == "audio_speech"


def test_the_successful_call_follows_the_genai_conventions(seen: MemoryTraces) -> None:
    *_, served = seen.request(a_record(attempts=(Attempt("qwen3-8b", "qwen3-8b#1", 200, 899.0),)))
    assert attributes(served) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "hosted_vllm",
        "gen_ai.request.model": "Qwen/Qwen3-8B",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "conversation-1",
        "gen_ai.response.model": "Qwen/Qwen3-8B",
        "gen_ai.response.time_to_first_chunk": pytest.approx(0.2100877, abs=1e-6),
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 80,
        "gen_ai.usage.cache_read.input_tokens": 1000,
        "http.response.status_code": 200,
        "server.address": "10.0.0.1",
        "server.port": 8000,
        "pulvinar.card": "qwen3-8b",
        "pulvinar.deployment": "qwen3-8b#1",
    }
    assert served.status.status_code is StatusCode.UNSET


def test_a_failed_call_is_an_error_without_usage(seen: MemoryTraces) -> None:
    _, failed, _ = seen.request(a_record())
    values = attributes(failed)
    assert failed.status.status_code is StatusCode.ERROR
    assert values["error.type"] == "rate_limited"
    assert values["http.response.status_code"] == 429
    assert (values["server.address"], values["server.port"]) == ("api.groq.com", 443)
    assert not any(name.startswith(("gen_ai.usage", "gen_ai.response")) for name in values)


@pytest.mark.parametrize(
    ("surface", "operation"),
    [
        ("chat", "chat"),
        ("messages", "chat"),
        ("responses", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
    ],
)
def test_operations_are_named_as_in_the_conventions(seen: MemoryTraces, surface: str, operation: str) -> None:
    _, call, *_ = seen.request(a_record(surface=surface))
    assert attributes(call)["gen_ai.operation.name"] == operation


def test_providers_are_named_as_in_the_conventions(seen: MemoryTraces) -> None:
    _, call = seen.request(a_record(attempts=(Attempt("grok", "grok", 200, 1.0),)))
    assert attributes(call)["gen_ai.provider.name"] == "x_ai"


def test_the_clients_trace_is_continued(seen: MemoryTraces) -> None:
    request, *calls = seen.request(a_record(), CLIENTS)
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in (request, *calls)} == {TRACE}


def test_an_invalid_traceparent_starts_a_new_trace(seen: MemoryTraces) -> None:
    request, *_ = seen.request(a_record(), {"traceparent": "nonsense"})
    assert request.parent is None


def test_each_upstream_call_sends_the_traceparent_of_its_own_span(seen: MemoryTraces) -> None:
    record = a_record()
    trace = seen.traces.begin(CLIENTS, "chat", record.at)
    sent = [trace.attempt(), trace.attempt()]
    trace.end(record)
    _, *calls = seen.spans()
    assert [span_id(headers) for headers in sent] == [call.context.span_id for call in calls]
    assert all(headers["tracestate"] == "vendor=1" for headers in sent)
    assert all(headers["traceparent"].startswith(f"00-{TRACE}-") for headers in sent)


def test_traceparent_identifies_the_requests_own_span(seen: MemoryTraces) -> None:
    trace = seen.traces.begin({}, "chat", AT)
    trace.end(a_record())
    request, *_ = seen.spans()
    assert trace.traceparent.startswith(f"00-{request.context.trace_id:032x}-{request.context.span_id:016x}-")


def test_spans_have_the_duration_of_the_request_and_its_calls(seen: MemoryTraces) -> None:
    request, first, second = seen.request(a_record())

    def milliseconds(span: ReadableSpan) -> tuple[float, float]:
        assert span.start_time is not None
        assert span.end_time is not None
        return (span.start_time / 1e6 - AT * 1e3, (span.end_time - span.start_time) / 1e6)

    assert milliseconds(request) == pytest.approx((0.0, 912.3456), abs=1e-3)
    assert milliseconds(first) == pytest.approx((0.4123, 12.0), abs=1e-3)
    assert milliseconds(second) == pytest.approx((12.4123, 899.0), abs=1e-3)


@pytest.mark.parametrize(
    ("status", "error", "is_error"),
    [
        (200, None, False),
        (200, "upstream_unreachable", True),
        (404, "model_not_found", False),
        (499, None, False),
        (504, "upstream_timeout", True),
    ],
)
def test_only_server_errors_are_errors_of_the_request_span(
    seen: MemoryTraces, status: int, error: str | None, is_error: bool
) -> None:
    request, *_ = seen.request(Record("r", AT, "chat", "auto", False, Outcome(status, 1.0, error=error)))
    assert (request.status.status_code is StatusCode.ERROR) == is_error
    assert attributes(request).get("error.type") == (error if is_error else None)
    assert attributes(request).get("pulvinar.error") == error


def test_the_call_of_a_deleted_card_has_no_attributes_of_the_card(seen: MemoryTraces) -> None:
    _, call = seen.request(a_record(attempts=(Attempt("gone", "gone", 200, 1.0),), card="gone"))
    assert call.name == "chat"
    assert "gen_ai.provider.name" not in attributes(call)


def test_spans_contain_no_prompt_and_no_url(seen: MemoryTraces) -> None:
    spans = seen.request(a_record(prompt=b"secret words", error="see https://host/?key=secret", status=502))
    assert "secret" not in "".join(span.to_json() for span in spans)


@given(records, st.integers(0, 3))
def test_the_spans_of_any_record_can_be_encoded(record: Record, started: int) -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    seen = MemoryTraces()
    trace = seen.traces.begin({}, record.surface, record.at)
    for _ in range(started):
        trace.attempt()
    trace.end(record)
    spans = seen.spans()
    assert len(spans) == 1 + len(record.outcome.attempts)
    assert encode_spans(spans).SerializeToString()


def test_token_counts_beyond_the_integers_of_json_are_omitted(seen: MemoryTraces) -> None:
    *_, served = seen.request(a_record(usage=Usage(10**400, 5)))
    assert "gen_ai.usage.input_tokens" not in attributes(served)
    assert attributes(served)["gen_ai.usage.output_tokens"] == 5


def test_an_unsampled_request_still_forwards_the_clients_trace() -> None:
    seen = MemoryTraces(sampler=ALWAYS_OFF)
    trace = seen.traces.begin(CLIENTS, "chat", AT)
    assert trace.attempt()["traceparent"].startswith(f"00-{TRACE}-")
    assert trace.attempt()["traceparent"].endswith("-00")
    trace.end(a_record())


class Collector(http.server.BaseHTTPRequestHandler):
    """An OTLP/HTTP receiver."""

    received: list[tuple[str, ExportTraceServiceRequest]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ExportTraceServiceRequest]]]:
    Collector.received = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield Collector.received
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_reach_a_collector(
    collector: list[tuple[str, ExportTraceServiceRequest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    traces = open_traces(CARDS.get)
    traces.begin(CLIENTS, "chat", AT).end(a_record())
    traces.close()
    ((path, sent),) = collector
    assert path == "/v1/traces"
    (resource_spans,) = sent.resource_spans
    resource = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
    assert resource["service.name"] == "pulvinar"
    assert resource["deployment.environment.name"] == "test"
    (scope_spans,) = resource_spans.scope_spans
    assert {span.name for span in scope_spans.spans} == {
        "POST /v1/chat/completions",
        "chat llama3-8b-8192",
        "chat Qwen/Qwen3-8B",
    }
    assert {span.trace_id.hex() for span in scope_spans.spans} == {TRACE}


@pytest.mark.usefixtures("collector")
def test_the_service_name_is_configurable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "llm-gateway")
    traces = open_traces(CARDS.get)
    traces.begin({}, "chat", AT).end(a_record())
    traces.close()
    ((_, sent),) = Collector.received
    resource = {item.key: item.value.string_value for item in sent.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "llm-gateway"


def test_a_missing_extra_is_reported_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "router.gateway.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pulvinar\[otel\]'"):
        open_traces(CARDS.get)


def test_opentelemetry_is_imported_only_when_traces_are_opened() -> None:
    code = (
        "import router.gateway.telemetry.traces, sys; print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"


def test_the_calls_of_a_plan_are_children_of_the_request(seen: MemoryTraces) -> None:
    calls = (
        CallOutcome("llama-3-8b", "draft", "used", Usage(10, 3), 0.001, right=0.4, began_ms=1.0, elapsed_ms=20.0),
        CallOutcome("qwen3-8b", "draft", "failed", reason="timeout", began_ms=1.0, elapsed_ms=90.0),
        CallOutcome("grok", "writer", "shown", Usage(30, 5), 0.01, began_ms=91.0, elapsed_ms=400.0),
    )
    attempts = tuple(Attempt(call.card, call.card, 200, call.elapsed_ms) for call in calls)
    request, *others = seen.request(a_record(attempts=attempts, plan="plan/panel", calls=calls))
    steps = [span for span in others if span.name.startswith("step ")]
    assert [span.name for span in steps] == ["step draft", "step draft", "step writer"]
    assert all(span.parent is not None and span.parent.span_id == request.context.span_id for span in others)
    first, failed, shown = map(attributes, steps)
    assert (first["pulvinar.card"], first["pulvinar.call.verdict"], first["pulvinar.call.right"]) == (
        "llama-3-8b",
        "used",
        0.4,
    )
    assert (failed["pulvinar.call.reason"], steps[1].status.status_code) == ("timeout", StatusCode.ERROR)
    assert shown["gen_ai.usage.input_tokens"] == 30
    # The tokens are on the steps, and not once more on the attempts.
    assert not any("gen_ai.usage.input_tokens" in attributes(span) for span in others if span not in steps)
    assert steps[2].start_time - request.start_time == 91_000_000  # type: ignore[operator]


def test_the_attempts_of_a_step_are_its_children(seen: MemoryTraces) -> None:
    calls = (
        CallOutcome("llama-3-8b", "draft", "used", began_ms=1.0, elapsed_ms=20.0),
        CallOutcome("grok", "writer", "shown", began_ms=91.0, elapsed_ms=400.0),
    )
    attempts = tuple(Attempt(name, name, 200, 1.0) for name in ("llama-3-8b", "llama-3-8b", "grok"))
    trace = seen.traces.begin({}, "chat", AT)
    headers = [trace.attempt(step) for step in ((0, "draft"), (0, "draft"), (1, "writer"))]
    trace.end(a_record(attempts=attempts, plan="plan/panel", calls=calls))
    spans = seen.spans()
    steps = {span.context.span_id: span.name for span in spans if span.name.startswith("step ")}
    assert sorted(steps.values()) == ["step draft", "step writer"]
    made = [span for span in spans if span.context.span_id in map(span_id, headers)]
    parents = [steps[span.parent.span_id] for span in made if span.parent is not None]
    assert sorted(parents) == ["step draft", "step draft", "step writer"]
