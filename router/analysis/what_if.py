"""What if: recorded requests, decided again with another weight of cost."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from router.analysis.replay import Replayer
from router.decide.policy import Policies, Policy
from router.errors import PulvinarError
from router.pipeline import Router
from router.store.records.protocol import RecordStore
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot
from router.types import Decision

_COST = "cheapest"
_MOST_WEIGHT = 1000.0


class Move(Struct, frozen=True):
    """How many requests would go to `after` in place of `before`; each is a card or a plan."""

    before: str
    after: str
    requests: int


class Expected(Struct, frozen=True):
    """The mean forecast cost and quality of the choices."""

    cost_usd: float
    quality: float


class Reweighed(Struct, frozen=True):
    """Requests with cost as it weighs now and `factor` times that, both decided with today's cards and date.

    `requests` could be decided both ways with a known cost, `left_out` could not; `changed` of them would go elsewhere.
    `unmoved` are the policies of these requests that weigh no cost, so that a factor changes nothing. Without requests
    `now` and `then` are None.
    """

    factor: float
    requests: int
    left_out: int
    changed: int
    moves: tuple[Move, ...]
    now: Expected | None
    then: Expected | None
    unmoved: tuple[str, ...]


def weighing_cost(policy: Policy, factor: float) -> Policy:
    """`policy` with money `factor` times as dear: a wrong answer costs that much less, and `cheapest` weighs more."""
    goals = {
        goal: min(weight * factor, _MOST_WEIGHT) if goal == _COST else weight for goal, weight in policy.goals.items()
    }
    mistake_usd = None if policy.mistake_usd is None else policy.mistake_usd / factor
    return msgspec.structs.replace(policy, goals=goals, mistake_usd=mistake_usd)


def reweigh_cost(sample: Iterable[Record], records: RecordStore, router: Router, factor: float) -> Reweighed:
    """Decide the requests of `sample` twice. A weight that a client stated stays as it is."""
    replayer, today = Replayer(records, router.predictor), datetime.datetime.now(datetime.UTC).date()
    cards = CatalogSnapshot(router.catalog, router.evidence)
    changed = Policies([weighing_cost(policy, factor) for policy in router.policies.values()])
    pairs: list[tuple[Decision, Decision]] = []
    left_out, used = 0, set[str]()
    for record in sample:
        if record.decision is None:
            continue
        try:
            now, then = (
                replayer.re_decide(record.decision, cards, policies, today, router.plans).decision
                for policies in (router.policies, changed)
            )
        except PulvinarError:
            # The inputs are not stored any more, or of another encoder.
            now = then = None
        if now is None or then is None or None in (now.candidates[0].cost_usd, then.candidates[0].cost_usd):
            left_out += 1
            continue
        used.add(record.decision.policy)
        pairs.append((now, then))
    moves = Counter((_name(now), _name(then)) for now, then in pairs if _name(now) != _name(then))
    return Reweighed(
        factor=factor,
        requests=len(pairs),
        left_out=left_out,
        changed=moves.total(),
        moves=tuple(Move(before, after, count) for (before, after), count in moves.most_common()),
        now=_expected([now for now, _ in pairs]),
        then=_expected([then for _, then in pairs]),
        unmoved=tuple(sorted(name for name in used if router.policies[name] == changed[name])),
    )


def _name(decision: Decision) -> str:
    return decision.candidates[0].card


def _expected(decisions: list[Decision]) -> Expected | None:
    if not decisions:
        return None
    chosen = [decision.candidates[0] for decision in decisions]
    return Expected(
        sum(each.cost_usd or 0.0 for each in chosen) / len(chosen), sum(each.quality for each in chosen) / len(chosen)
    )
