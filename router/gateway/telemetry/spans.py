"""Requests as OpenTelemetry spans: one for the request, one below it for each call to an upstream.

Attributes follow the semantic conventions for HTTP servers and for generative AI clients
(github.com/open-telemetry/semantic-conventions-genai); what they have no name for begins with `pulvinar.`. No prompt,
no key and no URL is ever among them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from router import __version__
from router.cards.schema import Card
from router.dispatch.deployments import deployments_of
from router.dispatch.providers import base_url
from router.formats.json import encodable
from router.gateway.telemetry.access_log import word
from router.store.records.record import Record
from router.types import Attempt, Outcome

Attributes = dict[str, AttributeValue]

_ROUTES = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
}
_OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
# Where the conventions name a provider otherwise than litellm does.
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
_LONGEST = 128
# What JSON and the wire hold exactly; beyond it an upstream has counted wrongly.
_MOST_TOKENS = 2**53
_W3C = TraceContextTextMapPropagator()


def otlp_provider() -> TracerProvider:
    """A provider that sends spans by OTLP over HTTP, as the OTEL_* variables say. Threads of its own do the sending."""
    resource = Resource({"service.name": "pulvinar", "service.version": __version__})
    provider = TracerProvider(resource=Resource.create().merge(resource).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """Begins a trace for each request. `card` gives the card of an id, None where it has gone."""

    def __init__(self, provider: TracerProvider, card: Callable[[str], Card | None]) -> None:
        self._provider, self._card = provider, card
        self._tracer = provider.get_tracer("pulvinar", __version__)

    def begin(self, headers: Mapping[str, str], surface: str, at: float) -> Trace:
        """The trace of a request that came at `at`, seconds since 1970. It continues the client's `traceparent`.

        `headers` have names in lower case.
        """
        route = _ROUTES.get(surface, f"/{surface}")
        attributes: Attributes = {
            "http.request.method": "POST",
            "http.route": route,
            "url.path": route,
            "url.scheme": "http",
        }
        if "user-agent" in headers:
            attributes["user_agent.original"] = _text(headers["user-agent"])
        parent = _W3C.extract(headers)
        start = int(at * 1e9)
        span = self._tracer.start_span(f"POST {route}", parent, SpanKind.SERVER, attributes, start_time=start)
        return Trace(self._tracer, span, start, self._card)

    def close(self) -> None:
        """Send what waits. It may take seconds."""
        self._provider.shutdown()


class Trace:
    """One request's spans. Without `end` nothing of them is sent."""

    def __init__(self, tracer: Tracer, span: Span, start_ns: int, card: Callable[[str], Card | None]) -> None:
        self._tracer, self._span, self._start_ns, self._card = tracer, span, start_ns, card
        self._context = set_span_in_context(span)
        self._attempts: list[tuple[Span, int]] = []

    @property
    def traceparent(self) -> str:
        """The request's own span, as W3C Trace Context writes it."""
        return _carried(self._span)["traceparent"]

    def attempt(self) -> dict[str, str]:
        """The headers `traceparent` and, where the client sent one, `tracestate`, which the next call to an upstream
        carries in place of the client's. The call's span begins now; what it was, `end` reads from the record.
        """
        return _carried(self._begin_attempt(time.time_ns()))

    def end(self, record: Record) -> None:
        """Finish the spans with what the record tells."""
        if not self._span.is_recording():
            return
        outcome = record.outcome
        end_ns = self._start_ns + _nanoseconds(outcome.total_ms)
        # A call that nobody announced began when the one before it ended.
        next_ns = self._start_ns + _nanoseconds(outcome.overhead_ms)
        for number, attempt in enumerate(outcome.attempts):
            if number >= len(self._attempts):
                self._begin_attempt(next_ns)
            span, began_ns = self._attempts[number]
            next_ns = began_ns + _nanoseconds(attempt.elapsed_ms)
            served = number == len(outcome.attempts) - 1 and attempt.card == outcome.card
            ttft_s = (self._start_ns - began_ns) / 1e9 + (outcome.ttft_ms or 0.0) / 1e3
            self._end_attempt(span, record, attempt, next_ns, ttft_s if served else None)
        self._span.set_attributes(_about_request(record))
        if outcome.status >= 500 or (outcome.error and outcome.status < 400):
            self._span.set_attributes({"error.type": word(outcome.error or str(outcome.status))})
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(end_ns)

    def _begin_attempt(self, at_ns: int) -> Span:
        span = self._tracer.start_span("attempt", self._context, SpanKind.CLIENT, start_time=at_ns)
        self._attempts.append((span, at_ns))
        return span

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
            attributes |= _about_upstream(card, attempt.deployment)
        if ttft_s is not None:
            attributes |= _about_answer(record.outcome)
            if card is not None:
                attributes["gen_ai.response.model"] = card.model
            if record.stream and record.outcome.ttft_ms is not None and 0 <= ttft_s < math.inf:
                attributes["gen_ai.response.time_to_first_chunk"] = ttft_s
        if attempt.fault:
            attributes["error.type"] = word(attempt.fault)
            span.set_status(Status(StatusCode.ERROR))
        span.update_name(operation if card is None else f"{operation} {card.model}")
        span.set_attributes(attributes)
        span.end(end_ns)


def _about_request(record: Record) -> Attributes:
    outcome, decision = record.outcome, record.decision
    found: dict[str, AttributeValue | None] = {
        "http.response.status_code": outcome.status,
        "pulvinar.request.id": record.id,
        "pulvinar.key": record.key,
        "pulvinar.asked": _text(record.asked),
        "pulvinar.card": outcome.card,
        "pulvinar.cost_usd": outcome.cost_usd,
        "pulvinar.overhead_ms": outcome.overhead_ms,
        "pulvinar.retries": outcome.retries,
        "pulvinar.error": word(outcome.error) if outcome.error else None,
        "pulvinar.policy": decision.policy if decision else None,
        "pulvinar.forecast.quality": decision.quality if decision else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _about_upstream(card: Card, deployment: str) -> Attributes:
    attributes: Attributes = {
        "gen_ai.provider.name": _PROVIDERS.get(card.provider, card.provider),
        "gen_ai.request.model": card.model,
    }
    for each in deployments_of(card):
        if each.name == deployment and (url := base_url(each.card)):
            # A card's URL has been checked: it has a host, and neither user nor password.
            parts = urlsplit(url)
            attributes["server.address"] = parts.hostname or ""
            attributes["server.port"] = parts.port or _PORTS.get(parts.scheme, 0)
    return attributes


def _about_answer(outcome: Outcome) -> Attributes:
    usage = outcome.usage
    if usage is None:
        return {}
    counted = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
    }
    return {name: tokens for name, tokens in counted.items() if 0 <= tokens <= _MOST_TOKENS}


def _carried(span: Span) -> dict[str, str]:
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span))
    return headers


def _text(text: str) -> str:
    # One text that cannot be encoded would cost the whole batch that it is sent in.
    return encodable(text[:_LONGEST])


def _nanoseconds(milliseconds: float) -> int:
    return int(milliseconds * 1e6) if 0 <= milliseconds < 1e12 else 0
