"""What the gateway did: requests by hour, card, policy and key, and how the calls of each deployment ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from router.gateway.dashboard.sample import SURFACES
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record
from router.store.records.totals import HOUR_S, Grouping
from router.wire.errors.kinds import KINDS

# Of so many newest requests, the times and calls are shown: those of all would have to be read.
_TIMED = 1000
_QUANTILES = (0.5, 0.95)


class Group(Struct, frozen=True):
    """The totals of an hour, a card, a policy or a key; see `Totals`."""

    group: str | int
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    total_ms: float


class CallsOf(Struct, frozen=True):
    """How the calls of one deployment ended, by the words in `faults`; `failed` of them by a failure that counts
    against the deployment, not against the request, most often by `main_fault` (None where none failed). `last_s` is
    when the newest request with such a call was recorded, in seconds since 1970.
    """

    deployment: str
    card: str
    calls: int
    failed: int
    main_fault: str | None
    faults: dict[str, int]
    last_s: float


class Traffic(Struct, frozen=True):
    """The requests of some hours, in groups. `latency_ms` are the median and the 95 % quantile of the `timed` newest
    requests that were answered, `ttft_ms` those of their first tokens; None where there are none. `calls` are those of
    the `read` newest requests, most failures first: also of requests that another card then answered.
    """

    since: float
    until: float
    hours: list[Group]
    cards: list[Group]
    policies: list[Group]
    keys: list[Group]
    timed: int
    latency_ms: tuple[float, float] | None
    ttft_ms: tuple[float, float] | None
    read: int
    calls: list[CallsOf]


def traffic(records: RecordStore, since_s: float, until_s: float) -> Traffic:
    """The requests to models since then, by hour, the one that is running included."""
    first = since_s // HOUR_S * HOUR_S

    def groups(by: Grouping) -> list[Group]:
        return [
            Group(total.group[0], *msgspec.structs.astuple(total)[1:])
            for total in records.totals([by], first, until_s, SURFACES)
        ]

    recorded = records.tail(_TIMED, Filter(since=since_s), prompts=False)
    newest = [one for one in recorded if one.outcome.card and not one.outcome.error and one.shadow is None]
    firsts = [one.outcome.ttft_ms for one in newest if one.outcome.ttft_ms is not None]
    return Traffic(
        first,
        until_s,
        groups("hour"),
        groups("card"),
        groups("policy"),
        groups("key"),
        len(newest),
        _quantiles([one.outcome.total_ms for one in newest]),
        _quantiles(firsts),
        len(recorded),
        _calls(recorded),
    )


def _calls(records: Iterable[Record]) -> list[CallsOf]:
    ended: dict[tuple[str, str], Counter[str]] = {}
    last_s: dict[tuple[str, str], float] = {}
    for record in records:
        for attempt in record.outcome.attempts:
            place = attempt.deployment, attempt.card
            ended.setdefault(place, Counter())[attempt.fault or ""] += 1
            last_s[place] = record.at
    found = []
    for (deployment, card), counts in ended.items():
        calls = counts.total()
        del counts[""]
        faults = dict(counts.most_common())
        of_server = [fault for fault in faults if _is_of_server(fault)]
        failed, main_fault = sum(faults[fault] for fault in of_server), next(iter(of_server), None)
        found.append(CallsOf(deployment, card, calls, failed, main_fault, faults, last_s[deployment, card]))
    return sorted(found, key=lambda each: (-each.failed, -each.calls, each.deployment))


def _is_of_server(fault: str) -> bool:
    meaning = KINDS.get(fault)  # type: ignore[call-overload]
    return meaning is None or meaning.health != "unchanged"


def _quantiles(values: list[float]) -> tuple[float, float] | None:
    if not values:
        return None
    values.sort()
    middle, high = (values[min(int(share * len(values)), len(values) - 1)] for share in _QUANTILES)
    return middle, high
