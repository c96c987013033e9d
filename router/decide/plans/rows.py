"""Plans as further rows of a decision, after the cards: the same limits, goals, guard and ranking apply to them."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.decide import goals
from router.decide.fields import DecisionInputs
from router.decide.goals import COST, LOSS, MIDDLE
from router.decide.limits import COMPARE, Limit, LimitResult, number_reason
from router.decide.plans.catalog import SelectedPlans
from router.decide.plans.compiled import Found, compiled_plans
from router.decide.plans.forecast.columns import MEASURED_KINDS
from router.decide.plans.forecast.expected import CONSTANTS, Constants
from router.decide.plans.members import Chooser, Members
from router.decide.plans.outlook import Costs, Figures, Price, figures_of
from router.decide.plans.spec import Chain, Panel, PlanSpec, Reroute, Samples
from router.types import (
    ComposedPlan,
    Doubles,
    Features,
    Forecast,
    PlanOutlook,
    PlanStep,
    known,
)

POSSIBLE = Limit("plan", "=", "possible", "plan possible")
"""The limit that a plan fails which cannot answer the request, or has no members for it."""

OWN_FIELDS = frozenset({"cost", "latency", "ttft", "quality", "calls", "plan"})
"""The fields of which a plan has a value of its own; of all others every member must pass."""


class Weights(Struct, frozen=True, eq=False):
    """What the request weighs: the weights of its goals, and what a wrong answer costs."""

    goals: Mapping[str, float]
    mistake_usd: float | None


class Row(NamedTuple):
    """One plan: its members, and its figures where it has members."""

    spec: PlanSpec
    members: Members
    problem: str
    figures: Figures | None


class PlanRows:
    """The plans of one decision.

    Row `i` has the position `cards + i` in the arrays that this class extends.
    """

    def __init__(
        self,
        plans: SelectedPlans,
        features: Features,
        inputs: DecisionInputs,
        weights: Weights,
        chooser: Chooser,
        *,
        first: int | None,
        unknown_passes: bool,
        constants: Constants = CONSTANTS,
    ) -> None:
        """`first` is the position of the card that a kept conversation begins with, None where none is kept."""
        self._inputs, self._weights, self._unknown_passes = inputs, weights, unknown_passes
        self._cards = len(inputs.catalog)
        prices = inputs.catalog.columns.input_price_usd_per_mtok
        self._costs = Costs(inputs.forecast, goals.surely_counted_cost_usd(inputs), prices)
        self._constants, self._measured = constants, plans.columns
        self._names, price = plans.names, self._price()
        problems = plans.impossible(features)
        compiled = compiled_plans(plans.plans, inputs.catalog, constants, plans)
        found: Mapping[int, Found] = {}
        if compiled is not None:
            possible = [number for number, problem in enumerate(problems) if not problem]
            found = compiled(possible, chooser, self._costs, price)
        self.rows = tuple(
            self._impossible(plan, problem, features)
            if problem
            else self._row(plan, found.get(number), features, chooser, first, price)
            for number, (plan, problem) in enumerate(zip(plans.plans, problems, strict=True))
        )
        self.ids = inputs.catalog.ids + self._names

    def position(self, name: str) -> int | None:
        """The position of a plan's row; None for another name."""
        return self._cards + self._names.index(name) if name in self._names else None

    def results(self, results: Sequence[LimitResult]) -> list[LimitResult]:
        """The limits evaluated on cards and plans, and first whether a plan is possible."""
        problems, none = np.zeros((2, self._cards + len(self.rows)), dtype=np.bool_)
        problems[self._cards :] = [bool(row.problem) for row in self.rows]
        return [LimitResult(POSSIBLE, problems, none), *(self._result(result) for result in results)]

    def forecast(self, forecast: Forecast) -> Forecast:
        """The forecast with the plans' expected values."""
        extended = np.empty((len(_FIGURES), self._cards + len(self.rows)))
        extended[:, : self._cards] = _columns_of(forecast)
        own = [_UNKNOWN if row.figures is None else _forecast_of(row.figures) for row in self.rows]
        extended[:, self._cards :] = np.array(own).T
        compared = forecast.compared
        if compared is not None:
            of_plans = [math.nan if row.figures is None else row.figures.compared for row in self.rows]
            compared = np.concatenate((compared, of_plans))
        columns = dict(zip(_FIGURES, extended, strict=True))
        return msgspec.structs.replace(forecast, **columns, compared=compared, parts=())

    def parts(self, parts: Mapping[str, Doubles]) -> dict[str, Doubles]:
        """The parts of the score, with those of the plans. Where a plan has no members they are NaN."""
        return {name: np.concatenate((part, self._part(name, part))) for name, part in parts.items()}

    def reason(self, position: int, result: LimitResult, of_card: Callable[[LimitResult, int], str]) -> str:
        """Why a plan fails a limit: its own value, or the first member that fails it, whose reason is `of_card`."""
        row, limit = self.rows[position - self._cards], result.limit
        if limit is POSSIBLE:
            return row.problem
        if limit.field in OWN_FIELDS:
            if result.unknown[position]:
                return f"{limit.field} unknown"
            if isinstance(limit.value, str):
                return f"{'does not have' if limit.op == '=' else 'has'} {limit.field} {limit.value}"
            return f"{number_reason(limit, self._number(row, limit.field))}{_AT_MOST.get(limit.field, '')}"
        for call, card in enumerate(row.members.calls):
            if result.fails[card] and not row.members.exempts(call, result):
                return f"{self.ids[card]}: {of_card(result, card)}"
        return f"a member fails {limit.text}"

    def assumptions(self, parts: Mapping[str, Doubles], position: int) -> tuple[str, ...]:
        """What the score of a plan assumes about its members."""
        members = self.rows[position - self._cards].members.calls
        return tuple(
            f"{self.ids[card]}: {sentence}"
            for card in dict.fromkeys(members)
            for sentence in goals.assumptions(self._inputs, parts, card)
        )

    def composed(self, position: int, fallbacks: tuple[str, ...]) -> ComposedPlan:
        """The plan of a row, to be run."""
        spec, members, _, figures = self.rows[position - self._cards]
        assert figures is not None
        writer = None if members.writer is None else self.ids[members.writer]
        asked = members.calls if writer is None else members.calls[:-1]
        return ComposedPlan(
            id=spec.name,
            method=spec.kind,
            card=self.ids[figures.answerer],
            members=tuple(self.ids[card] for card in asked),
            writer=writer,
            fallbacks=fallbacks,
            quality_per_usd=figures.quality_per_usd,
        )

    @property
    def all_needless(self) -> bool:
        """Whether one card answers as well as any of the plans would: nothing is to be split or converted."""
        return all(row.members.needless for row in self.rows)

    def only_named(self) -> LimitResult | None:
        """The limit that every card fails where the client names the plan of the only row, but the member that answers
        alone where the plan is needless. None where any card may.
        """
        (row,) = self.rows
        fails = np.arange(self._cards + 1) < self._cards
        if row.members.needless:
            if not row.members.calls:
                return None
            fails[row.members.calls[0]] = False
        return LimitResult(Limit("plan", "=", row.spec.id, f"plan={row.spec.id}"), fails, np.zeros_like(fails))

    def members_of(self, position: int) -> tuple[int, ...]:
        """The positions of the cards that a plan may call."""
        return self.rows[position - self._cards].members.calls

    def answerer(self, position: int) -> int:
        """The position of the card that is expected to write what the client sees."""
        figures = self.rows[position - self._cards].figures
        assert figures is not None
        return figures.answerer

    @staticmethod
    def _impossible(spec: PlanSpec, problem: str, features: Features) -> Row:
        is_needless = isinstance(spec, Chain) and spec.stages[0].consumes not in features.modalities
        return Row(spec, Members(needless=is_needless), problem, None)

    def _row(
        self,
        spec: PlanSpec,
        found: Found | None,
        features: Features,
        chooser: Chooser,
        first: int | None,
        price: Price,
    ) -> Row:
        members, figures = (chooser.members(spec), None) if found is None else found
        if members.problem:
            return Row(spec, members, members.problem, None)
        problem = ""
        if first is not None and members.calls[0] != first:
            problem = f"the conversation's card {self._inputs.catalog.ids[first]} is not the plan's first member"
        column = None
        if self._measured and isinstance(spec, MEASURED_KINDS):
            ids = self._inputs.catalog.ids
            column = self._measured.of(spec, tuple([ids[card] for card in members.calls]))
        if figures is None or column is not None:
            figures = figures_of(spec, members, self._costs, price, self._constants, column)
        if not problem and isinstance(spec, Panel):
            problem = self._too_much_to_read(members, features)
        if not problem and spec.caps.usd is not None and figures.most_cost_usd > spec.caps.usd:
            problem = f"may cost {figures.most_cost_usd:.4g}$, more than the {spec.caps.usd:g}$ of its caps"
        return Row(spec, members, problem, figures)

    def _too_much_to_read(self, members: Members, features: Features) -> str:
        writer = members.calls[-1]
        window = self._inputs.catalog.columns.context_tokens[writer]
        written = [self._inputs.forecast.written_tokens.item(answer) for answer in members.calls[:-1]]
        known = sum([tokens for tokens in written if not math.isnan(tokens)])
        needed = int(features.input_tokens + (features.output_limit or 0) + known)
        # A window that is not stated is no reason.
        return (
            f"{self._inputs.catalog.ids[writer]}: context is too short for the members' answers"
            if window < needed
            else ""
        )

    def _price(self) -> Price:
        """What a dollar is worth in quality, by the price of mistakes and by `cheapest`."""
        constant = 0.0 if self._weights.mistake_usd is None else 1.0 / self._weights.mistake_usd
        cheapest, loss = self._weights.goals.get("cheapest", 0.0), goals.loss_weight(self._weights.goals)
        return Price(constant, cheapest, loss, self._cost_scale if cheapest else None)

    @functools.cached_property
    def _cost_scale(self) -> goals.Scale:
        of_cards = self._inputs.forecast.cost_usd
        return goals.scale_of(self._costs.counted_usd if np.isnan(of_cards).all() else of_cards)

    @functools.cached_property
    def _latency_scale(self) -> goals.Scale:
        return goals.scale_of(self._inputs.forecast.latency_ms)

    def _part(self, name: str, of_cards: Doubles) -> list[float]:
        """The part of every plan's score."""
        value = self._value_of(name, of_cards)
        return [math.nan if row.figures is None else value(row.figures) for row in self.rows]

    def _value_of(self, name: str, of_cards: Doubles) -> Callable[[Figures], float]:
        weight = self._weights.goals.get(name, 0.0)
        if name == LOSS:
            of_loss = goals.loss_weight(self._weights.goals)
            return lambda figures: (1.0 - figures.compared) * of_loss
        if name == COST:
            mistake_usd = self._weights.mistake_usd
            assert mistake_usd is not None
            return lambda figures: round(figures.counted_usd / mistake_usd, 9)
        if name == "cheapest":
            return lambda figures: weight * self._cost_scale.place(figures.counted_usd)
        if name == "fastest":
            return lambda figures: weight * self._slowness(figures.latency_ms)
        # A plan is as large, as old, as public as its worst member.
        return lambda figures: float(of_cards[list(figures.calls)].max())

    def _slowness(self, latency_ms: float) -> float:
        return MIDDLE if math.isnan(latency_ms) else self._latency_scale.place(latency_ms)

    def _result(self, result: LimitResult) -> LimitResult:
        limit = result.limit
        if limit.field in OWN_FIELDS:
            own = [self._own(row, limit) for row in self.rows]
            fails, unknown = np.array(own).T
            return LimitResult(limit, np.concatenate((result.fails, fails)), np.concatenate((result.unknown, unknown)))
        fails = np.zeros(self._cards + len(self.rows), dtype=np.bool_)
        fails[: self._cards] = result.fails
        if np.count_nonzero(fails):
            failing = set(np.flatnonzero(fails).tolist())
            fails[self._cards :] = [self._has_failing(row, failing, result) for row in self.rows]
        # Of a plan it is its members' fields that may be unknown.
        return LimitResult(limit, fails, result.unknown)

    def _has_failing(self, row: Row, failing: Collection[int], result: LimitResult) -> bool:
        members = row.members
        return any(card in failing and not members.exempts(n, result) for n, card in enumerate(members.calls))

    def _own(self, row: Row, limit: Limit) -> tuple[bool, bool]:
        """Whether a plan fails a limit on its own value, and whether that is unknown."""
        if isinstance(limit.value, str):
            has = limit.value in (row.spec.kind, row.spec.id)
            return has != (limit.op == "="), False
        value = self._number(row, limit.field)
        if np.isnan(value):
            # A plan without members is rejected anyway.
            return row.figures is not None and not self._unknown_passes, row.figures is not None
        return not COMPARE[limit.op](value, limit.value), False

    def _number(self, row: Row, field: str) -> float:
        """The value of a numeric field: the greatest that the plan may come to, and the expected quality."""
        figures = row.figures
        if figures is None:
            return np.nan
        return {
            "cost": figures.most_cost_usd,
            "latency": figures.most_latency_ms,
            "ttft": figures.most_ttft_ms,
            "quality": figures.quality,
            "calls": float(figures.most_calls),
        }[field]


_FIGURES = {
    "quality": "quality",
    "quality_std": "quality_std",
    "independent_std": "independent_std",
    "mean_quality": "mean_quality",
    "output_tokens": "written_tokens",
    "written_tokens": "written_tokens",
    "cost_usd": "cost_usd",
    "ttft_ms": "most_ttft_ms",
    "latency_ms": "latency_ms",
}
"""The columns of a forecast, with the figures of plans that belong into them."""

_UNKNOWN = (math.nan,) * len(_FIGURES)

_columns_of, _forecast_of = operator.attrgetter(*_FIGURES), operator.attrgetter(*_FIGURES.values())

_AT_MOST = {"cost": " if every call is made", "latency": " if every call is made", "ttft": " if every call is made"}


class Outlooks(Mapping[str, PlanOutlook]):
    """What is expected of the plans by id, made when it is read."""

    def __init__(self, rows: PlanRows, forecast: Forecast) -> None:
        """`forecast` is that of the cards."""
        self._rows, self._forecast = rows, forecast
        self._known = {row.spec.name: row for row in rows.rows if row.figures is not None}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __getitem__(self, name: str) -> PlanOutlook:
        row = self._known[name]
        figures = row.figures
        assert figures is not None
        forecasts = row.members.forecasts or (self._forecast,) * len(figures.calls)
        return PlanOutlook(
            id=name,
            method=row.spec.kind,
            card=self._rows.ids[figures.answerer],
            quality=figures.quality,
            quality_std=figures.quality_std,
            calls=float(sum(figures.reach)),
            most_calls=figures.most_calls,
            cost_usd=known(figures.cost_usd),
            most_cost_usd=known(figures.most_cost_usd),
            latency_ms=known(figures.latency_ms),
            most_latency_ms=known(figures.most_latency_ms),
            quality_per_usd=figures.quality_per_usd,
            forecast_by="closed form" if figures.column is None else figures.column.words,
            steps=tuple(
                PlanStep(
                    card=self._rows.ids[card],
                    role=self._role(row, number),
                    probability=figures.reach[number],
                    quality=float(forecast.quality[card]),
                    cost_usd=known(forecast.cost_usd[card]),
                    latency_ms=known(forecast.latency_ms[card]),
                )
                for number, (card, forecast) in enumerate(zip(figures.calls, forecasts, strict=True))
            ),
        )

    def __repr__(self) -> str:
        return f"Outlooks({list(self._known)!r})"

    @staticmethod
    def _role(row: Row, call: int) -> str:
        if row.members.writer is not None and call == len(row.members.calls) - 1:
            return "writer"
        if isinstance(row.spec, Samples):
            return "sample"
        if isinstance(row.spec, Reroute) and call:
            return "handover"
        return {"chain": "stage", "segments": "part"}.get(row.spec.kind, "member")
