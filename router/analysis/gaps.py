"""Gaps: kinds of prompt that come again and again and are unlike everything that the predictor was trained on.

Prompts more novel than `NOVEL` of the training prompts are grouped by the cosines of their topics: groups are joined as
long as the mean distance between their prompts is at most that of the nearest `NEAR` of all pairs of prompts that are
not novel (average linkage), and a gap has at least `LEAST_PROMPTS`. Only the features of prompts are read, which the
records keep without any text; words are shown of groups whose texts are recorded.
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from msgspec import Struct

from router.analysis.drift.traffic import once_a_conversation, vectors_of
from router.perceive.predictor import Predictor
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.snapshots import CatalogSnapshot
from router.store.records.totals import DAY_S
from router.types import Doubles, Floats, Indices

NOVEL, NEAR, LEAST_PROMPTS = 0.9, 0.2, 10
_LEAST_KNOWN, _MOST_KNOWN = 50, 600
MOST_NOVEL = 2_000
"""So many novel prompts are grouped at most, the newest of a sample that is spread over the time."""
_SLICES, _OF_A_SLICE = 84, 240
NIGHTLY, MOST_NIGHTLY = "gaps/nightly", 20
"""The name in the shared state of what gateways find at night, and how many gaps that has at most."""
_TERMS, _TEXTS = 4, 60
_WEEK_S = 7 * 86_400.0
_WORD = re.compile(r"[^\W\d_]{3,}")
_COMMON = 0.2


class Gap(Struct, frozen=True):
    """A group of `prompts` novel prompts of the sample, which stand for `share` of all routed requests and so for
    `weekly` requests a week.

    `terms` are words that are frequent in them and not elsewhere, where texts are recorded. `card` is the one with the
    best mean forecast today. `forecast` is the mean of what is forecast for the best card of each prompt, and `usual`
    the same for prompts that are not novel: an adapter that does as well there as others do elsewhere would be worth
    `worth` right answers a week. `examples` are ids of requests near the middle of the group.
    """

    prompts: int
    share: float
    weekly: float
    terms: tuple[str, ...]
    card: str
    forecast: float
    usual: float
    worth: float
    novelty: float
    examples: tuple[str, ...]

    @property
    def proposal(self) -> str:
        """What could be done, in a sentence."""
        about = ", ".join(self.terms) or f"prompts such as request {self.examples[0]}"
        if self.forecast >= self.usual:
            return f"{about}: nothing to gain, the best cards are forecast to do as well there as elsewhere"
        return f"train an adapter for {about}: {self.weekly:,.0f} requests a week, forecast {self.forecast:.2f}"


class Gaps(Struct, frozen=True):
    """The gaps, the one that is worth most first, in `read` requests out of `of`, of which `novel` were novel, from
    `since_s` to `until_s`, as the predictor `artifact` sees them.
    """

    since_s: float
    until_s: float
    artifact: str
    read: int
    of: int
    novel: int
    gaps: tuple[Gap, ...]


def gaps_of(records: RecordStore, since_s: float, until_s: float, cards: CatalogSnapshot, predictor: Predictor) -> Gaps:
    """The gaps in the routed requests of this time."""
    result = functools.partial(Gaps, since_s, until_s, predictor.id)
    sample, of = _spread(records, since_s, until_s)
    sample = once_a_conversation(sample)
    read, vectors = vectors_of(sample, predictor)
    if not read:
        return result(0, of, 0, ())
    novelty = predictor.profile(vectors).novelty
    novel = np.flatnonzero(novelty >= NOVEL)[-MOST_NOVEL:]
    known = np.flatnonzero(novelty < NOVEL)[-MOST_NOVEL:]
    groups = clusters(predictor.topics(vectors[novel]), predictor.topics(vectors[known]))
    if not groups:
        return result(len(read), of, len(novel), ())
    qualities = predictor.bind(cards.catalog, cards.evidence).qualities
    usual = _best(qualities(vectors[known])) if len(known) else 1.0
    weekly = of / max(until_s - read[0].at, DAY_S) * _WEEK_S / len(read)
    texts = _Texts(records, [read[place].id for place in known[-_TEXTS:].tolist()])
    found = []
    for group in groups:
        places = novel[group]
        expected, ids = qualities(vectors[places]), [read[place].id for place in places.tolist()]
        forecast, count = _best(expected), weekly * len(places)
        found.append(
            Gap(
                len(places),
                len(places) / len(read),
                round(count, 1),
                texts.terms(ids[:_TEXTS]),
                cards.catalog.ids[int(expected.mean(axis=0).argmax())],
                round(forecast, 4),
                round(usual, 4),
                round(max(usual - forecast, 0.0) * count, 1),
                round(float(novelty[places].mean()), 4),
                tuple(ids[:3]),
            )
        )
    found.sort(key=lambda gap: (-gap.worth, -gap.prompts, gap.card))
    return result(len(read), of, len(novel), tuple(found))


def _best(qualities: Doubles | Floats) -> float:
    """The mean quality `(prompts, cards)` where each prompt has its best card."""
    return float(qualities.max(axis=1).mean())


def clusters(novel: Doubles | Floats, known: Doubles | Floats) -> list[Indices]:
    """The groups of the topics of novel prompts `(prompts, numbers)`, the largest first, each with the nearest to its
    middle first. `known` are topics of prompts that are not novel; where there are few, all prompts set the distance.
    """
    if len(novel) < LEAST_PROMPTS:
        return []
    from sklearn.cluster import AgglomerativeClustering

    usual = known if len(known) >= _LEAST_KNOWN else np.concatenate([known, novel])
    units, others = _units(novel), _units(usual[-_MOST_KNOWN:])
    pairs = (1.0 - others @ others.T)[np.triu_indices(len(others), 1)]
    labels = AgglomerativeClustering(
        n_clusters=None, distance_threshold=float(np.quantile(pairs, NEAR)), metric="cosine", linkage="average"
    ).fit_predict(units)
    groups = []
    for label in np.flatnonzero(np.bincount(labels) >= LEAST_PROMPTS):
        members = np.flatnonzero(labels == label)
        nearness = units[members] @ units[members].mean(axis=0)
        groups.append(members[np.argsort(-nearness, kind="stable")])
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))


def _units(topics: Doubles | Floats) -> Doubles:
    units: Doubles = topics / np.maximum(np.linalg.norm(topics, axis=1, keepdims=True), 1e-12)
    return units


def _spread(records: RecordStore, since_s: float, until_s: float) -> tuple[list[Record], int]:
    """The newest routed requests of slices of equal length, oldest first, without their texts, and how many there are
    in all, estimated where a slice has more than are read.
    """
    length, found, of = (until_s - since_s) / _SLICES, list[Record](), 0.0
    for part in range(_SLICES):
        end_s = since_s + (part + 1) * length
        some = records.tail(_OF_A_SLICE, Filter(routed=True, since=end_s - length, until=end_s), prompts=False)
        found += some
        # So many in the time since the oldest of them, which may be a part of the slice.
        covered = (end_s - some[0].at) / length if len(some) == _OF_A_SLICE else 1.0
        of += len(some) / max(covered, 1e-6)
    return found, round(of)


class _Texts:
    """The words of recorded texts; `usual` are ids of requests whose words are usual."""

    def __init__(self, records: RecordStore, usual: Collection[str]) -> None:
        self._records = records
        self._usual = _shares(self._words(usual))

    def terms(self, ids: Collection[str]) -> tuple[str, ...]:
        """The words that are in at least a fifth of the texts, and the furthest from usual."""
        own = _shares(self._words(ids))
        rated = {word: share - self._usual[word] for word, share in own.items() if share >= _COMMON}
        ranked = sorted((word for word, gain in rated.items() if gain > _COMMON / 2), key=lambda word: -rated[word])
        return tuple(ranked[:_TERMS])

    def _words(self, ids: Iterable[str]) -> list[frozenset[str]]:
        found = (self._records.find(id_).prompt for id_ in ids)
        return [frozenset(_WORD.findall(text.lower())) for text in map(_human_text, found) if text]


def _human_text(body: bytes | None) -> str:
    """The newest text of the user in a recorded request; empty where it is not recorded."""
    if body is None:
        return ""
    from router.formats.json import json_or_none

    document = json_or_none(body)
    messages = document.get("messages") if isinstance(document, dict) else None
    if not isinstance(messages, list):
        return str(document.get("input") or document.get("prompt") or "") if isinstance(document, dict) else ""
    texts = [each.get("content") for each in messages if isinstance(each, dict) and each.get("role") == "user"]
    return _text_of(texts[-1]) if texts else ""


def _text_of(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _shares(texts: Sequence[frozenset[str]]) -> collections.Counter[str]:
    """The share of the texts that have each word."""
    counts: collections.Counter[str] = collections.Counter(word for words in texts for word in words)
    for word in counts:
        counts[word] /= len(texts)  # type: ignore[assignment]
    return counts
