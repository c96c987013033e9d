"""Judged traffic: recorded requests with a judgement of their answers, as arrays. No text is needed."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from router.learn.online.outcomes import WEIGHTS, readable
from router.perceive.memory.traffic import logit
from router.perceive.memory.voters import ALLOWANCE, DOUBT, MOST_SHARE, SCALE
from router.pipeline import Router
from router.store.records.feedback import OPERATOR, Feedback
from router.store.records.record import Record
from router.types import Doubles, Floats, Indices, Mask

_TINY = 1e-9


class JudgedTraffic(Struct, frozen=True, eq=False):
    """Requests, oldest first. `logits` `(requests,)` are those of the forecast for the card that answered, without what
    was learned from traffic before; `topics` `(requests, numbers)`; `values` `(requests,)` in [0, 1] are the
    judgements and `weights` what they weigh; `cards` `(requests,)` are positions in `names`, `keys` in `key_names`, of
    which `trusted` count fully; `at_s` are times in seconds since 1970. `left_out` counts what was not used, by reason.
    """

    logits: Doubles
    topics: Doubles
    values: Doubles
    weights: Doubles
    cards: Indices
    keys: Indices
    at_s: Doubles
    names: tuple[str, ...]
    key_names: tuple[str, ...]
    trusted: Mask
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, chosen: Mask | Indices) -> JudgedTraffic:
        """Only these requests."""
        of_requests = ("logits", "topics", "values", "weights", "cards", "keys", "at_s")
        return msgspec.structs.replace(self, **{name: getattr(self, name)[chosen] for name in of_requests})


class Judgement(Struct, frozen=True):
    """What all judgements of one answer say together: `value` in [0, 1], of this `weight`."""

    record: Record
    value: float
    weight: float
    is_trusted: bool


def judgements(judged: Iterable[tuple[Feedback, Record]]) -> list[Judgement]:
    """One judgement for each answer, oldest first: that of the operator where there is one, else the mean of all.

    `judged` is the newest first, as `RecordStore.judged` returns it.
    """
    of_record: dict[str, list[Feedback]] = collections.defaultdict(list)
    records: dict[str, Record] = {}
    for feedback, record in judged:
        of_record[record.id].append(feedback)
        records[record.id] = record
    found = []
    for id_, given in of_record.items():
        of_operator = [each.value for each in given if each.source == OPERATOR]
        values = of_operator or [each.value for each in given]
        weight = WEIGHTS["operator" if of_operator else "client"]
        found.append(Judgement(records[id_], float(np.mean(values)), weight, bool(of_operator)))
    return sorted(found, key=lambda each: (each.record.at, each.record.id))


def usable(found: Iterable[Judgement], router: Router) -> tuple[list[Judgement], dict[str, int]]:
    """The judgements that say something about a forecast of `router`, and how many do not, by reason."""
    left_out: collections.Counter[str] = collections.Counter()
    kept = []
    for each in found:
        decision, card = each.record.decision, each.record.outcome.card
        if decision is None or card is None:
            left_out["not routed"] += 1
        elif each.record.outcome.plan is not None:
            left_out["answered by a plan"] += 1
        elif router.catalog.position(card) is None:
            left_out["no such card any more"] += 1
        elif not readable(decision, router.predictor):
            left_out["features of another artifact"] += 1
        else:
            kept.append(each)
    return kept, dict(left_out)


def judged_traffic(found: Iterable[Judgement], router: Router, trusted: Collection[str] = ()) -> JudgedTraffic:
    """The arrays of those judgements that are `usable`. Forecasts are those of today's cards, without corrections from
    traffic.

    Votes of the operator, of the keys `trusted`, and of a gateway without keys count fully.
    """
    kept, left_out = usable(found, router)
    predictor = router.predictor.without_traffic()
    vectors, cards = vectors_and_cards(kept, router)
    qualities = predictor.bind(router.catalog, router.evidence).qualities(vectors) if kept else np.zeros((0, 1))
    names = sorted({each.record.key or "" for each in kept if not each.is_trusted})
    key_names = ("", *(name for name in names if name))
    places = {name: place for place, name in enumerate(key_names)}
    return JudgedTraffic(
        logit(qualities[np.arange(len(kept)), cards]) if kept else np.zeros(0),
        predictor.topics(vectors),
        np.array([each.value for each in kept]),
        np.array([each.weight for each in kept]),
        cards,
        np.array([0 if each.is_trusted else places[each.record.key or ""] for each in kept], dtype=np.intp),
        np.array([each.record.at for each in kept]),
        router.catalog.ids,
        key_names,
        np.array([name == "" or name in trusted for name in key_names], dtype=np.bool_),
        left_out,
    )


def vectors_and_cards(kept: Sequence[Judgement], router: Router) -> tuple[Floats, Indices]:
    """The recorded feature vectors `(requests, width)`, and the positions `(requests,)` of the cards that answered."""
    raw = b"".join(each.record.decision.vector for each in kept if each.record.decision is not None)
    vectors = np.frombuffer(raw, dtype="<f4").astype(np.float32).reshape(len(kept), router.predictor.width)
    return vectors, np.array([router.catalog.position(each.record.outcome.card or "") for each in kept], dtype=np.intp)


def trusted_weights(traffic: JudgedTraffic, expected: Doubles) -> Doubles:
    """The weights `(requests,)` with which judgements count in a fit: none of a key that is not trusted weighs much
    more than those of others.

    On each card, the votes of a key weigh at most `MOST_SHARE` of those of all others, or `ALLOWANCE` votes of weight
    1, and less the more they disagree with these: the rules of `router.perceive.memory.voters`. `expected`
    `(requests,)` are the forecasts.
    """
    weights = traffic.weights.copy()
    for card in np.unique(traffic.cards):
        rows = np.flatnonzero(traffic.cards == card)
        keys, places = np.unique(traffic.keys[rows], return_inverse=True)
        free = traffic.trusted[keys]
        counts = np.bincount(places, weights[rows])
        most = np.maximum(ALLOWANCE, MOST_SHARE * (counts.sum() - counts))
        share = np.where(free, 1.0, np.minimum(1.0, most / np.maximum(counts, _TINY)))
        sums = np.bincount(places, weights[rows] * (traffic.values[rows] - expected[rows]))
        votes, residuals = share * counts, share * sums
        elsewhere = votes.sum() - votes
        mean_elsewhere = (residuals.sum() - residuals) / np.maximum(elsewhere, _TINY)
        certain = votes / (votes + DOUBT) * elsewhere / (elsewhere + DOUBT)
        disagreement = (residuals / np.maximum(votes, _TINY) - mean_elsewhere) * certain
        trust = np.where(free, 1.0, 1.0 / (1.0 + np.square(disagreement / SCALE)))
        weights[rows] *= (share * trust)[places]
    return weights
