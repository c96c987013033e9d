"""Two artifacts on recorded, judged requests that neither was trained on: how near their forecasts were, and what would
change in the choices.

Only the answer of the card that was asked is judged. Where the artifacts choose different cards, the answer of at least
one of them is only forecast: for the old choice by the greater forecast of both artifacts, for the new choice by the
smaller one. So the expected negative flips (right before, wrong now) are counted unfavourably for the new artifact.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from router.analysis.replay import Replayer
from router.errors import CallerError, ConfigurationError
from router.learn.traffic.comparison import ForecastComparison, Interval, compare_forecasts
from router.learn.traffic.judged import Judgement, judged_traffic, trusted_weights, usable, vectors_and_cards
from router.perceive.predictor import Predictor
from router.pipeline import Router
from router.store.records.protocol import RecordStore
from router.store.records.record import DecisionRecord
from router.store.records.snapshots import CatalogSnapshot
from router.types import Doubles

LEAST_JUDGED = 60
"""Judged requests below which nothing is promoted."""
NEGATIVE_SHARE = 0.05
"""The budget of expected negative flips where none is stated."""
_DRAWS = 2_000


class RouteChanges(Struct, frozen=True):
    """What would be chosen otherwise, of the `requests` that could be decided again; `lost` counts replays that failed.

    `changed` go to another card, and of those `good` had an answer that was judged right. `negative` and `positive` are
    expected shares of all requests: right before and wrong now, and the other way round; `change` is the difference of
    the two, with its 95 % interval.
    """

    requests: int
    lost: int
    changed: int
    good: int
    negative: float
    positive: float
    change: float
    change_ci95: Interval


class ArtifactPromotion(Struct, frozen=True):
    """The comparison of two artifacts, by their ids, and the reasons against the new one, none where it may be used.

    `trained_before` counts judged requests that one of them was trained on, which say nothing here.
    """

    old: str
    new: str
    trained_before: int
    forecasts: ForecastComparison
    routes: RouteChanges | None
    refusals: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        """Whether nothing speaks against the new artifact."""
        return not self.refusals


def compare_artifacts(
    found: Sequence[Judgement],
    records: RecordStore,
    old: Router,
    new: Router,
    *,
    budget: float | None = NEGATIVE_SHARE,
    sample: int = 1_000,
    trusted: Collection[str] = (),
    today: datetime.date | None = None,
) -> ArtifactPromotion:
    """Compare the artifacts of two routers that differ in nothing else. `budget` is the greatest share of expected
    negative flips; of at most `sample` requests, the newest, the decision is made again with each; with 0, of none.

    Raises CallerError where there are too few judged requests, or the artifacts do not read the same features.
    """
    if (old.predictor.width, old.predictor.reader_id) != (new.predictor.width, new.predictor.reader_id):
        raise CallerError(
            f"{old.predictor.id} and {new.predictor.id} read different features of prompts, so recorded requests "
            "cannot compare them; use a data set (`route eval`)"
        )
    trained_s = max(_until_s(each.predictor) for each in (old, new))
    kept, _ = usable([each for each in found if each.record.at >= trained_s], old)
    before = sum(each.record.at < trained_s for each in found)
    if len(kept) < LEAST_JUDGED:
        raise CallerError(
            f"{len(kept)} judged requests are too few to compare artifacts on; at least {LEAST_JUDGED} are needed"
            f"{f' ({before:,} more were trained on)' if before else ''}"
        )
    traffic = judged_traffic(kept, old, trusted)
    vectors, cards = vectors_and_cards(kept, old)
    rows = np.arange(len(kept))
    both = [each.predictor.bind(each.catalog, each.evidence).qualities(vectors) for each in (old, new)]
    weights = trusted_weights(traffic, both[0][rows, cards])
    forecasts = compare_forecasts(traffic.values, both[0][rows, cards], both[1][rows, cards], weights, traffic.keys)
    newest = rows[len(kept) - min(sample, len(kept)) :]
    routes = _routes([kept[row] for row in newest], both[0][newest], both[1][newest], records, old, new, today)
    return ArtifactPromotion(
        old=old.predictor.id,
        new=new.predictor.id,
        trained_before=before,
        forecasts=forecasts,
        routes=routes,
        refusals=_refusals(forecasts, routes, budget, is_routed=sample > 0),
    )


def _until_s(predictor: Predictor) -> float:
    source = predictor.manifest.traffic
    return 0.0 if source is None else source.until_s


def _routes(
    kept: Sequence[Judgement],
    of_old: Doubles,
    of_new: Doubles,
    records: RecordStore,
    old: Router,
    new: Router,
    today: datetime.date | None,
) -> RouteChanges | None:
    replayers = [Replayer(records, each.predictor) for each in (old, new)]
    cards = [CatalogSnapshot(each.catalog, each.evidence) for each in (old, new)]
    positions = {card: position for position, card in enumerate(old.catalog.ids)}
    losses, gains, changed, good = list[float](), list[float](), 0, 0
    for row, each in enumerate(kept):
        decision = _uncorrected(each.record.decision)
        try:
            replays = [
                replayer.re_decide(decision, snapshot, router.policies, today, router.plans)
                for replayer, snapshot, router in zip(replayers, cards, (old, new), strict=True)
            ]
        except (ConfigurationError, CallerError):
            continue
        first, second = (None if replay.decision is None else replay.decision.card for replay in replays)
        if first is None or second is None:
            continue
        if first == second:
            losses.append(0.0)
            gains.append(0.0)
            continue
        changed += 1
        answered = each.record.outcome.card
        good += int(answered == first and each.value >= 0.5)
        one, two = positions[first], positions[second]
        right = each.value if answered == first else float(max(of_old[row, one], of_new[row, one]))
        right_now = each.value if answered == second else float(min(of_old[row, two], of_new[row, two]))
        losses.append(right * (1.0 - right_now))
        gains.append((1.0 - right) * right_now)
    if not losses:
        return None
    differences = np.array(gains) - np.array(losses)
    places = np.random.default_rng(0).integers(0, len(differences), (_DRAWS, len(differences)))
    low, high = np.percentile(differences[places].mean(axis=1), (2.5, 97.5))
    return RouteChanges(
        requests=len(losses),
        lost=len(kept) - len(losses),
        changed=changed,
        good=good,
        negative=float(np.mean(losses)),
        positive=float(np.mean(gains)),
        change=float(differences.mean()),
        change_ci95=(float(low), float(high)),
    )


def _uncorrected(decision: DecisionRecord | None) -> DecisionRecord:
    """The recorded decision without the error memory, which is void for another artifact."""
    assert decision is not None
    return msgspec.structs.replace(decision, memory="", corrections=())


def _refusals(
    forecasts: ForecastComparison, routes: RouteChanges | None, budget: float | None, *, is_routed: bool
) -> tuple[str, ...]:
    reasons = []
    low, high = forecasts.gain_ci95
    if low <= 0:
        reasons.append(
            f"its forecasts are not nearer to the judgements beyond doubt: squared error less by {forecasts.gain:+.4f} "
            f"(95 % {low:+.4f} to {high:+.4f})"
        )
    if routes is None and is_routed:
        reasons.append("no recorded decision could be made again, so what would change is not known")
    elif routes is not None and budget is not None and routes.negative > budget:
        reasons.append(
            f"{100 * routes.negative:.3g}% expected negative flips, more than the budget of {100 * budget:.3g}%"
        )
    return tuple(reasons)
