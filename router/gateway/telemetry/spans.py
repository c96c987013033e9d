"""OpenTelemetry spans: one per request, with a child span for each call to an upstream.

Attributes follow the semantic conventions for HTTP servers and for generative AI clients
(github.com/open-telemetry/semantic-conventions-genai); others begin with `pulvinar.`. They never contain prompts, keys
or URLs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from router import __version__
from router.cards.schema import Card
from router.dispatch.pool.deployment import deployments_of
from router.dispatch.providers import base_url
from router.formats.json import encodable
from router.gateway.http.relayed import RELAYED
from router.gateway.http.routes import ENDPOINTS
from router.gateway.telemetry.access_log import safe_code
from router.store.records.feedback import Stored
from router.store.records.record import Record
from router.types import Attempt, CallOutcome, Usage

Attributes = dict[str, AttributeValue]

# The method and the path of each surface, in which `{id}` stays: spans have no ids of clients.
_ROUTES: Mapping[str, tuple[str, str]] = {
    **{endpoint.operation: (endpoint.method, endpoint.path) for endpoint in ENDPOINTS.values()},
    **{endpoint.operation: (endpoint.method, f"/v1/{endpoint.path}") for endpoint in RELAYED},
}
# The conventions have words for few operations; all surfaces that are not here are chat.
_OPERATIONS = {
    "completions": "text_completion",
    "embeddings": "embeddings",
    **{endpoint.operation: endpoint.operation for endpoint in RELAYED},
}
# Providers whose name in the conventions differs from litellm's.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
_PORTS = {"http": 80, "https": 443}
_MAX_LENGTH = 128
# Larger counts are errors of the upstream; JSON numbers are exact only up to here.
_MAX_TOKENS = 2**53
_W3C = TraceContextTextMapPropagator()


def otlp_provider() -> TracerProvider:
    """A tracer provider that exports by OTLP over HTTP, configured by the OTEL_* variables. It exports in threads."""
    resource = Resource({"service.name": "pulvinar", "service.version": __version__})
    provider = TracerProvider(resource=Resource.create().merge(resource).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """Starts a trace for each request. `card` looks up a card by its id; None if it no longer exists."""

    def __init__(self, provider: TracerProvider, card: Callable[[str], Card | None]) -> None:
        self._provider, self._card = provider, card
        self._tracer = provider.get_tracer("pulvinar", __version__)

    def begin(self, headers: Mapping[str, str], surface: str, at: float) -> Trace:
        """Start the trace of a request that arrived at `at`, in seconds since 1970. It continues the client's trace.

        The names of `headers` are in lower case; `traceparent` is the client's.
        """
        method, route = _ROUTES.get(surface, ("POST", f"/{surface}"))
        attributes: Attributes = {
            "http.request.method": method,
            "http.route": route,
            "url.path": route,
            "url.scheme": "http",
        }
        if "user-agent" in headers:
            attributes["user_agent.original"] = _text(headers["user-agent"])
        parent = _W3C.extract(headers)
        start = int(at * 1e9)
        span = self._tracer.start_span(f"{method} {route}", parent, SpanKind.SERVER, attributes, start_time=start)
        return Trace(self._tracer, span, start, self._card)

    def evaluated(self, stored: Stored) -> None:
        """Export feedback as the event of an evaluation, in a span of its own: that of the answer has ended.

        A comment is a text of a user, and is not exported.
        """
        feedback = stored.feedback
        attributes: Attributes = {
            "gen_ai.evaluation.name": _text(feedback.source),
            "gen_ai.evaluation.score.value": feedback.value,
            "gen_ai.response.id": _text(feedback.record),
            "pulvinar.card": stored.card,
        }
        if feedback.verdict is not None:
            attributes["gen_ai.evaluation.score.label"] = feedback.verdict
        span = self._tracer.start_span("evaluation", kind=SpanKind.INTERNAL)
        span.add_event("gen_ai.evaluation.result", attributes)
        span.end()

    def close(self) -> None:
        """Export the remaining spans. This may take seconds."""
        self._provider.shutdown()


class Trace:
    """The spans of one request. They are exported after `end`."""

    def __init__(self, tracer: Tracer, span: Span, start_ns: int, card: Callable[[str], Card | None]) -> None:
        self._tracer, self._span, self._start_ns, self._card = tracer, span, start_ns, card
        self._context = set_span_in_context(span)
        self._attempts: list[tuple[Span, int]] = []
        self._steps: dict[int, Span] = {}

    @property
    def traceparent(self) -> str:
        """The request's own span as a W3C `traceparent`."""
        return _trace_headers(self._span)["traceparent"]

    def attempt(self, step: tuple[int, str] | None = None) -> dict[str, str]:
        """Start the span of the next upstream call, and return its headers `traceparent` and `tracestate`.

        `step` are the number and the role of the call of a plan that it is made for, whose span is its parent.
        `tracestate` is there only if the client sent one. `end` sets the span's attributes from the record.
        """
        now_ns = time.time_ns()
        if step is not None and step[0] not in self._steps:
            number, role = step
            self._steps[number] = self._tracer.start_span(f"step {role}", self._context, start_time=now_ns)
        parent = self._context if step is None else set_span_in_context(self._steps[step[0]])
        return _trace_headers(self._begin_attempt(now_ns, parent))

    def end(self, record: Record) -> None:
        """End the spans, with attributes from the record."""
        if not self._span.is_recording():
            return
        outcome = record.outcome
        end_ns = self._start_ns + _nanoseconds(outcome.total_ms)
        # A call without `attempt` started when the previous one ended.
        next_ns = self._start_ns + _nanoseconds(outcome.overhead_ms)
        for number, attempt in enumerate(outcome.attempts):
            if number >= len(self._attempts):
                self._begin_attempt(next_ns, self._context)
            span, began_ns = self._attempts[number]
            next_ns = began_ns + _nanoseconds(attempt.elapsed_ms)
            # The usage of a plan is on the spans of its calls.
            served = not outcome.calls and number == len(outcome.attempts) - 1 and attempt.card == outcome.card
            ttft_s = (self._start_ns - began_ns) / 1e9 + (outcome.ttft_ms or 0.0) / 1e3
            self._end_attempt(span, record, attempt, next_ns, ttft_s if served else None)
        for number, call in enumerate(outcome.calls):
            self._end_call(number, call)
        for number, step in self._steps.items():
            if number >= len(outcome.calls):
                step.end(end_ns)
        self._span.set_attributes(_request_attributes(record))
        if outcome.status >= 500 or (outcome.error and outcome.status < 400):
            self._span.set_attributes({"error.type": safe_code(outcome.error or str(outcome.status))})
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(end_ns)

    def _begin_attempt(self, at_ns: int, parent: Context) -> Span:
        span = self._tracer.start_span("attempt", parent, SpanKind.CLIENT, start_time=at_ns)
        self._attempts.append((span, at_ns))
        return span

    def _end_call(self, number: int, call: CallOutcome) -> None:
        """End the span of one call of a plan, whose children are the attempts at its deployments."""
        began_ns = self._start_ns + _nanoseconds(call.began_ms)
        attributes: dict[str, AttributeValue | None] = {
            "pulvinar.card": call.card,
            "pulvinar.call.role": call.role,
            "pulvinar.call.verdict": call.verdict,
            "pulvinar.call.reason": _text(call.reason) or None,
            "pulvinar.call.right": call.right,
            "pulvinar.cost_usd": call.cost_usd,
            **_usage_attributes(call.usage),
        }
        known = {name: value for name, value in attributes.items() if value is not None}
        span = self._steps.get(number)
        if span is None:
            span = self._tracer.start_span(f"step {call.role}", self._context, start_time=began_ns)
        span.set_attributes(known)
        if call.verdict == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(began_ns + _nanoseconds(call.elapsed_ms))

    def _end_attempt(self, span: Span, record: Record, attempt: Attempt, end_ns: int, ttft_s: float | None) -> None:
        operation = _OPERATIONS.get(record.surface, "chat")
        card = self._card(attempt.card)
        attributes: Attributes = {
            "gen_ai.operation.name": operation,
            "pulvinar.card": attempt.card,
            "pulvinar.deployment": attempt.deployment,
        }
        if record.session:
            attributes["gen_ai.conversation.id"] = _text(record.session)
        if record.stream:
            attributes["gen_ai.request.stream"] = True
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        if card is not None:
            attributes |= _upstream_attributes(card, attempt.deployment)
        if ttft_s is not None:
            attributes |= _usage_attributes(record.outcome.usage)
            if card is not None:
                attributes["gen_ai.response.model"] = card.model
            if record.stream and record.outcome.ttft_ms is not None and 0 <= ttft_s < math.inf:
                attributes["gen_ai.response.time_to_first_chunk"] = ttft_s
        if attempt.fault:
            attributes["error.type"] = safe_code(attempt.fault)
            span.set_status(Status(StatusCode.ERROR))
        span.update_name(operation if card is None else f"{operation} {card.model}")
        span.set_attributes(attributes)
        span.end(end_ns)


def _request_attributes(record: Record) -> Attributes:
    outcome, decision = record.outcome, record.decision
    attributes: dict[str, AttributeValue | None] = {
        "http.response.status_code": outcome.status,
        "pulvinar.request.id": record.id,
        "pulvinar.key": record.key,
        "pulvinar.asked": _text(record.asked),
        "pulvinar.card": outcome.card,
        "pulvinar.cost_usd": outcome.cost_usd,
        "pulvinar.overhead_ms": outcome.overhead_ms,
        "pulvinar.retries": outcome.retries,
        "pulvinar.plan": outcome.plan,
        "pulvinar.plan.degraded": outcome.degraded,
        "pulvinar.error": safe_code(outcome.error) if outcome.error else None,
        "pulvinar.policy": decision.policy if decision else None,
        "pulvinar.forecast.quality": decision.quality if decision else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _upstream_attributes(card: Card, deployment: str) -> Attributes:
    attributes: Attributes = {
        "gen_ai.provider.name": _PROVIDERS.get(card.provider, card.provider),
        "gen_ai.request.model": card.model,
    }
    for candidate in deployments_of(card):
        if candidate.name == deployment and (url := base_url(candidate.card)):
            # URLs of cards are validated: they have a host, and neither user nor password.
            parts = urlsplit(url)
            attributes["server.address"] = parts.hostname or ""
            attributes["server.port"] = parts.port or _PORTS.get(parts.scheme, 0)
    return attributes


def _usage_attributes(usage: Usage | None) -> Attributes:
    if usage is None:
        return {}
    counts = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
    }
    if usage.cache_write_tokens:
        counts["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    return {name: tokens for name, tokens in counts.items() if 0 <= tokens <= _MAX_TOKENS}


def _trace_headers(span: Span) -> dict[str, str]:
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span))
    return headers


def _text(text: str) -> str:
    # A text that cannot be encoded would make the export of its whole batch fail.
    return encodable(text[:_MAX_LENGTH])


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1e6) if 0 <= milliseconds < 1e12 else 0
