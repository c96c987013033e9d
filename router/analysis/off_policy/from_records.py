"""What two policies decide for recorded requests, and what the records say about both."""

from __future__ import annotations

import datetime
from collections import Counter

from msgspec import Struct

from router.analysis.off_policy.policy_value import Logged, PolicyValue, Target, evaluate, logged_of, values_of
from router.analysis.replay import NO_FLAGS, Replayer
from router.decide.flags import Flags
from router.decide.policy import Policy
from router.errors import PulvinarError
from router.pipeline import Router
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import DecisionRecord
from router.store.records.snapshots import CatalogSnapshot


class Contender(Struct, frozen=True, eq=False):
    """How requests are decided: by `policy`, None for each one's own, with `flags` beside its own."""

    router: Router
    policy: Policy | None = None
    flags: Flags = NO_FLAGS


def compare_on_records(
    records: RecordStore, since_s: float, new: Contender, today: Contender, of_policy: str | None = None
) -> PolicyValue:
    """What `new` is worth beside `today` on the requests since `since_s`, seconds since 1970; only on those that the
    policy `of_policy` decided, where one is given.

    Nothing but the recorded features is needed. Both decide with the present cards and date; what could not be called
    at the time still cannot. Requests without a decision, and those that cannot be decided, are counted and left out.
    """
    deciding = [_Deciding(records, new), _Deciding(records, today)]
    # An answer may be judged long after it was given, and never before.
    values = values_of(records.scan_feedback(since_s))
    logged: list[Logged] = []
    targets: tuple[list[Target], list[Target]] = [], []
    left_out: Counter[str] = Counter()
    for record in records.scan(Filter(routed=True, since=since_s)):
        decision = record.decision
        if decision is None or (of_policy is not None and decision.policy != of_policy):
            continue
        row = logged_of(record, values.get(record.id))
        if row is None:
            left_out["the client named a plan"] += 1
            continue
        found = [each.target(decision) for each in deciding]
        problem = next((each for each in found if isinstance(each, str)), None)
        if problem is not None:
            left_out[problem] += 1
            continue
        logged.append(row)
        for list_, target in zip(targets, found, strict=True):
            assert isinstance(target, Target)
            list_.append(target)
    return evaluate(logged, *targets, left_out)


class _Deciding:
    """Decides recorded requests as a contender does."""

    def __init__(self, records: RecordStore, contender: Contender) -> None:
        router = contender.router
        self._contender, self._replayer = contender, Replayer(records, router.predictor)
        self._cards = CatalogSnapshot(router.catalog, router.evidence)
        self._today = datetime.datetime.now(datetime.UTC).date()

    def target(self, recorded: DecisionRecord) -> Target | str:
        """What is decided, or why nothing can be."""
        contender = self._contender
        policy = contender.policy or contender.router.policies.get(recorded.policy)
        if policy is None:
            return f"there is no policy {recorded.policy} any more"
        plans = contender.router.plans
        try:
            replay = self._replayer.decide_by(recorded, self._cards, policy, self._today, plans, contender.flags)
        except PulvinarError:
            return "the inputs of the decision are not stored any more, or of another artifact"
        if replay.decision is None:
            return "no card meets every limit"
        best = replay.decision.candidates[0]
        return Target(best.card, best.quality, best.cost_usd)
