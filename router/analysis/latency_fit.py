"""The factors between the roofline and recorded times, one pair for each card.

A server is rarely as fast as its accelerator allows, and by how much depends on its software and load. So the median
ratio of measured to estimated time is taken over the streams that a deployment answered alone. It is shrunk by their
number towards that of all cards on the same server, such as the adapters of one base, and that towards 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from router.cards import Catalog
from router.cards.machine.columns import Machines, machines_of
from router.cards.machine.speeds import Speed
from router.dispatch.pool.deployment import deployments_of
from router.perceive.roofline import time_per_token_ms, time_to_first_token_ms
from router.store.records.record import Record
from router.types import Usage

SHRINK_REQUESTS = 8
"""With so many requests, half of a card's factor is its own."""

_LEAST_TOKENS = 8


class _Times(NamedTuple):
    """One request: the measured times as multiples of the roofline's, and the times themselves."""

    first: float
    further: float
    measured_ms: float
    first_ms: float
    further_ms: float


class CardFit(Struct, frozen=True):
    """The fit of one card. Errors are mean relative errors of the whole time, before and after, on these requests."""

    card: str
    speed: Speed
    error_before: float
    error_after: float


def fit_latency(records: Iterable[Record], catalog: Catalog) -> list[CardFit]:
    """The fits of the cards of which there are measured streams, by their ids."""
    machines: dict[str, Machines] = {}
    of_card: dict[str, list[_Times]] = {}
    servers: dict[str, str] = {}
    for record in records:
        position = catalog.position(record.outcome.card or "")
        if position is None or (usage := _of_one_stream(record)) is None:
            continue
        card = catalog[position]
        name = card.id_without_effort
        if name not in machines:
            machines[name] = machines_of([card])
            servers[name] = deployments_of(card)[0].server
        if (times := _times(record, usage, machines[name])) is not None:
            of_card.setdefault(name, []).append(times)
    shared: dict[str, list[_Times]] = {}
    for name, measured in of_card.items():
        shared.setdefault(servers[name], []).extend(measured)
    priors = {server: _shrunk(measured, (0.0, 0.0)) for server, measured in shared.items()}
    return [_fit(name, measured, priors[servers[name]]) for name, measured in sorted(of_card.items())]


def speeds_of(fits: Iterable[CardFit], catalog: Catalog) -> Mapping[str, Speed]:
    """The speeds by card id. A card without requests has that of its server, from the requests of the others there."""
    fitted = {fit.card: fit.speed for fit in fits}
    by_server: dict[str, list[Speed]] = {}
    for name, speed in fitted.items():
        by_server.setdefault(deployments_of(catalog.named(name))[0].server, []).append(speed)
    for card in catalog:
        others = by_server.get(deployments_of(card)[0].server) if card.id_without_effort == card.id else None
        # Without an address, it is the provider's: its models run on machines of many kinds.
        if card.id in fitted or not others or not (card.base_url or card.deployments):
            continue
        weights = np.array([speed.requests for speed in others], dtype=np.float64)
        logs = np.log([[speed.first, speed.further] for speed in others])
        first, further = np.exp(np.average(logs, axis=0, weights=weights)).round(4).tolist()
        fitted[card.id] = Speed(first, further, int(weights.sum()))
    return fitted


def _of_one_stream(record: Record) -> Usage | None:
    """The usage of a stream that one attempt answered whole; None where its times say something else."""
    outcome, usage = record.outcome, record.outcome.usage
    is_plain = record.stream and outcome.status == 200 and outcome.error is None and outcome.plan is None
    if not is_plain or len(outcome.attempts) != 1 or outcome.attempts[0].fault is not None:
        return None
    return usage if usage is not None and not usage.estimated and usage.output_tokens >= _LEAST_TOKENS else None


def _times(record: Record, usage: Usage, machines: Machines) -> _Times | None:
    outcome = record.outcome
    if outcome.ttft_ms is None:
        return None
    first_ms = outcome.ttft_ms - outcome.overhead_ms
    further_ms = outcome.total_ms - outcome.ttft_ms
    prompt, further_tokens = max(usage.input_tokens - usage.cached_input_tokens, 1), usage.output_tokens - 1
    at_first_ms = float(time_to_first_token_ms(machines, prompt)[0])
    each_ms = float(time_per_token_ms(machines, usage.input_tokens + usage.output_tokens / 2)[0])
    at_further_ms = each_ms * further_tokens
    if not (first_ms > 0 and further_ms > 0 and at_first_ms > 0 and at_further_ms > 0):
        return None
    return _Times(first_ms / at_first_ms, further_ms / at_further_ms, first_ms + further_ms, at_first_ms, at_further_ms)


def _shrunk(times: list[_Times], prior: tuple[float, float]) -> tuple[float, float]:
    """The logarithms of both median ratios, shrunk towards those of `prior`."""
    own = len(times) / (len(times) + SHRINK_REQUESTS)
    medians = [math.log(float(np.median([each[place] for each in times]))) for place in (0, 1)]
    first, further = (own * median + (1 - own) * before for median, before in zip(medians, prior, strict=True))
    return first, further


def _fit(name: str, times: list[_Times], prior: tuple[float, float]) -> CardFit:
    first, further = (round(math.exp(each), 4) for each in _shrunk(times, prior))

    def error(first: float, further: float) -> float:
        errors = [abs(first * t.first_ms + further * t.further_ms - t.measured_ms) / t.measured_ms for t in times]
        return round(float(np.mean(errors)), 4)

    return CardFit(name, Speed(first, further, len(times)), error(1.0, 1.0), error(first, further))
