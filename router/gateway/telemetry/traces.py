"""Tracing, which needs the extra `otel`. Nothing of OpenTelemetry is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router.cards.schema import Card
from router.errors import MissingExtraError

if TYPE_CHECKING:
    from router.gateway.telemetry.spans import Traces


def open_traces(card: Callable[[str], Card | None]) -> Traces:
    """Traces that go where the OTEL_* variables say; OpenTelemetry's own names and meanings.

    `card` gives the card of an id, None where it has gone. Raises MissingExtraError where the extra is not installed.
    """
    try:
        from router.gateway.telemetry.spans import Traces, otlp_provider
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise MissingExtraError(
            "opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http", "otel", "tracing (OTEL_… variables are set)"
        ) from None
    return Traces(otlp_provider(), card)
