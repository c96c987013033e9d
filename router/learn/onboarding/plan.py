"""The terms of an onboarding run, checked against the card, and the plan that a dry run shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct, field

from router.cards.price import Price
from router.cards.schema import Card
from router.dispatch.configured import missing_configuration
from router.dispatch.costs import price_of
from router.errors import CallerError, ConfigurationError
from router.learn.onboarding.adaptive_test import AdaptiveTest
from router.learn.onboarding.budget import Budget
from router.learn.onboarding.evidence_log import Key
from router.learn.onboarding.probes import Probe, ProbeSet
from router.perceive.ability.evidence import ProbeOutcome


class Terms(Struct, frozen=True):
    """How many probes to ask, and how.

    `probes` and `max_usd` include the probes that earlier runs of the same card and set asked, and their cost.
    """

    probes: int = 32
    max_usd: float | None = None
    concurrency: int = 4
    max_tokens: int = 2048


class PlannedProbe(Struct, frozen=True):
    """A probe that would be asked, and its maximum cost; None where the card states no price."""

    probe: str
    domain: str
    difficulty: int
    max_cost_usd: float | None = field(name="worst_usd")


class Outlook(Struct, frozen=True):
    """What the planned probes can change: the forecast quality over all probes of the set, its standard deviation now
    and expected after them, and how many of the set's domains they are from.

    A standard deviation of zero means that the card's outcomes are known; probes then act only on prompts like them.
    """

    quality: float
    std: float
    std_after: float
    domains: int
    all_domains: int


def check_callable(card: Card, terms: Terms) -> Price | None:
    """The card's price. Raises where the card cannot be called, or the budget could not be enforced."""
    if reason := missing_configuration(card):
        raise ConfigurationError(f'the card "{card.id}" cannot be called: {reason}')
    return check_budget(card, terms)


def check_budget(card: Card, terms: Terms) -> Price | None:
    """The card's price. Raises CallerError where the budget could not be enforced."""
    price = price_of(card)
    if price is None and terms.max_usd is not None:
        raise CallerError(
            f'the card "{card.id}" states no price, so --max-usd cannot be enforced: omit it, or add the price per '
            "million tokens to the card, such as `price: {input: 0.15$, output: 0.6$}`"
        )
    return price


def limited_to_card(card: Card, terms: Terms) -> Terms:
    """The terms, reduced to the output tokens and the concurrent calls that the card allows."""
    calls = card.rate_limits.concurrency if card.rate_limits else None
    return msgspec.structs.replace(
        terms,
        max_tokens=min(terms.max_tokens, int(card.max_output_tokens or terms.max_tokens)),
        concurrency=min(terms.concurrency, calls or terms.concurrency),
    )


def outcomes_by_row(probes: Sequence[Probe], outcomes: Iterable[ProbeOutcome]) -> dict[int, ProbeOutcome]:
    """The outcomes of these probes, by row; the latest of each probe."""
    latest = {outcome.key: outcome for outcome in outcomes}
    return {row: latest[probe.key] for row, probe in enumerate(probes) if probe.key in latest}


def plan_probes(
    card: Card, probe_set: ProbeSet, test: AdaptiveTest, earlier: Mapping[Key, ProbeOutcome], terms: Terms
) -> tuple[PlannedProbe, ...]:
    """The probes that a run would ask, as far as this can be known before the answers. Calls nothing."""
    price = check_budget(card, terms)
    terms, probes = limited_to_card(card, terms), probe_set.probes
    answered = outcomes_by_row(probes, earlier.values())
    test, asked = test.observe({row: outcome.score for row, outcome in answered.items()}), set(answered)
    budget = Budget(terms.max_usd, price, terms.max_tokens)
    budget.count(answered.values())
    planned = []
    while len(asked) < min(terms.probes, len(probes)):
        row = test.choose_next(asked)
        if not budget.reserve(probes[row]):
            break
        asked.add(row)
        max_cost_usd = None if price is None else budget.max_cost_usd(probes[row])
        planned.append(PlannedProbe(probes[row].id, probes[row].domain, probes[row].difficulty, max_cost_usd))
    return tuple(planned)


def outlook(
    probe_set: ProbeSet, test: AdaptiveTest, earlier: Mapping[Key, ProbeOutcome], planned: Iterable[PlannedProbe]
) -> Outlook:
    """What `planned` can change, given the outcomes of earlier runs."""
    probes = probe_set.probes
    answered = outcomes_by_row(probes, earlier.values())
    test = test.observe({row: outcome.score for row, outcome in answered.items()})
    names = {probe.probe for probe in planned}
    asked = {row for row, probe in enumerate(probes) if row in answered or probe.id in names}
    everything = np.arange(len(probes))
    now = test.average(everything)
    return Outlook(
        quality=now.quality,
        std=now.std,
        std_after=test.std_after(asked, everything),
        domains=len({probes[row].domain for row in asked}),
        all_domains=len({probe.domain for probe in probes}),
    )
