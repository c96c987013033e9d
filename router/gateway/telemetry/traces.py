"""Tracing, which needs the extra `otel`. OpenTelemetry is imported only when traces are opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from router.cards.schema import Card
from router.errors import MissingExtraError

if TYPE_CHECKING:
    from router.gateway.telemetry.spans import Traces


def open_traces(card: Callable[[str], Card | None]) -> Traces:
    """Open an exporter configured by OpenTelemetry's OTEL_* variables.

    `card` looks up a card by its id; None if it no longer exists. Raises MissingExtraError without the extra `otel`.
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
