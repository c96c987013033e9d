"""What is out of date in a catalogue, compared with litellm's installed price map and a day."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from router.cards.schema import Card, Price
from router.cards.sources import litellm_map
from router.errors import CallerError, did_you_mean
from router.formats.quantities import read_quantity, write_quantity

_SELF_HOSTED = ("local", "private")
# The date at the end of a name: of a snapshot (gpt-5.5-2026-04-23), or a year and month (mistral-medium-2604).
_DATE = re.compile(r"[-@](?:20\d\d-?\d\d-?\d\d|2\d(?:0[1-9]|1[0-2]))$")
_YEAR_AND_MONTH = re.compile(r"-(2\d)(0[1-9]|1[0-2])$")
# 5.6 of gpt-5.6-sol, 4-8 of claude-opus-4-8, 2.1 of MiniMax-M2.1. Numbers that are none: sizes (70b, 8x7b), contexts
# (128k), months (04-2026).
_VERSION = re.compile(r"(?<![\d.])(\d{1,2})(?:[.-](\d{1,2})(?![\dbkx]))?(?![\dbkx]|-20\d\d)")


class Unlisted(Struct, frozen=True):
    """A model of the price map without a card. `released` is known only where the model's name states a date."""

    provider: str
    model: str
    released: datetime.date | None
    price: str | None


class Difference(Struct, frozen=True):
    """A card whose model the map does not have (`entry` is None), or whose price differs from that of its entry."""

    card: str
    entry: str | None
    changes: tuple[str, ...] = ()


class OldFacts(Struct, frozen=True):
    """The benchmarks of a card that are older than the limit or have no date, of `total`, and the oldest date."""

    card: str
    total: int
    oldest: datetime.date | None
    benchmarks: tuple[str, ...]


class Incomplete(Struct, frozen=True):
    """A card, and what it does not state of benchmarks, release date and latency."""

    card: str
    missing: tuple[str, ...]


class RefreshReport(Struct, frozen=True):
    """What may need attention. `unlisted` has at most `limit` models of each provider, of `unlisted_total` in all."""

    today: datetime.date
    before: datetime.date
    price_map: str
    unlisted: tuple[Unlisted, ...]
    unlisted_total: int
    differences: tuple[Difference, ...]
    old_facts: tuple[OldFacts, ...]
    incomplete: tuple[Incomplete, ...]


def refresh_report(
    cards: Iterable[Card], today: datetime.date, months: int, limit: int, provider: str | None = None
) -> RefreshReport:
    """Compare `cards` with the installed price map, and their benchmarks' dates with `months` before `today`.

    `provider` restricts the report to one provider. Raises CallerError, with the most similar name, where neither a
    card nor the map has it.
    """
    cards = tuple(cards)
    entries = litellm_map.entry_names()
    hosted = {card.provider for card in cards if card.privacy not in _SELF_HOSTED}
    if provider is not None:
        known = {card.provider for card in cards} | {service for service, _ in entries}
        if provider not in known:
            raise CallerError(
                f'neither a card nor the price map has the provider "{provider}"{did_you_mean(provider, known)}'
            )
        hosted = {provider}
        compared = tuple(card for card in cards if card.provider == provider)
    else:
        compared = cards
    before = _months_before(today, months)
    unlisted = _unlisted(entries, hosted, cards)
    old = [_old_facts(card, before) for card in compared]
    return RefreshReport(
        today=today,
        before=before,
        price_map=f"litellm {litellm_map.version()}",
        unlisted=tuple(model for models in unlisted.values() for model in models[:limit]),
        unlisted_total=sum(map(len, unlisted.values())),
        differences=tuple(differing for card in compared if (differing := _difference(card, entries))),
        old_facts=tuple(facts for facts in old if facts.benchmarks),
        incomplete=tuple(Incomplete(card.id, missing) for card in compared if (missing := _missing(card))),
    )


def _unlisted(
    entries: Mapping[tuple[str, str], str], providers: Iterable[str], cards: Iterable[Card]
) -> Mapping[str, list[Unlisted]]:
    """Per provider the models without a card, the highest version first, since the map has no release dates.

    Fine-tuned models and the moving aliases `…-latest` are left out, and snapshots beside the model itself.
    """
    carded = {(card.provider, _undated(name)) for card in cards for name in (card.model, *card.names)}
    found: dict[str, list[Unlisted]] = {}
    for service in sorted(providers):
        models: dict[str, Unlisted] = {}
        for (owner, model), key in entries.items():
            base = _undated(model)
            if owner != service or (service, base) in carded or model.startswith("ft:") or model.endswith("latest"):
                continue
            released = _released(model)
            earlier = models.get(base)
            if earlier is not None:
                dates = [day for day in (earlier.released, released) if day is not None]
                models[base] = msgspec.structs.replace(earlier, released=min(dates, default=None))
            else:
                models[base] = Unlisted(service, base, released, _price_text(_price(key)))
        found[service] = sorted(
            models.values(), key=lambda each: (_version(each.model), each.released or datetime.date.min), reverse=True
        )
    return found


def _difference(card: Card, entries: Mapping[tuple[str, str], str]) -> Difference | None:
    if card.privacy in _SELF_HOSTED or card.kind == "adapter":
        return None
    entry = entries.get((card.provider, card.model))
    if entry is None:
        return Difference(card.id, None)
    current = _price(entry)
    if current is None or current == card.price:
        return None
    old, new = _written(card.price), _written(current)
    names = dict.fromkeys([*old, *new])
    changes = tuple(
        f"{name} {old.get(name, 'unknown')} -> {new.get(name, 'unknown')}"
        for name in names
        if old.get(name) != new.get(name)
    )
    return Difference(card.id, entry, changes)


def _old_facts(card: Card, before: datetime.date) -> OldFacts:
    # Plain dates, which JSON can express.
    dates = {
        name: benchmark.date and datetime.date.fromordinal(benchmark.date.toordinal())
        for name, benchmark in card.benchmarks.items()
    }
    old = tuple(name for name, day in dates.items() if day is None or day < before)
    oldest = min((day for day in dates.values() if day is not None), default=None)
    return OldFacts(card.id, len(dates), oldest, old)


def _missing(card: Card) -> tuple[str, ...]:
    # How fast a model of one's own is depends on the server: nobody publishes it.
    self_hosted = card.privacy in _SELF_HOSTED
    stated = {
        "benchmarks": bool(card.benchmarks) or card.kind == "adapter",
        "released": card.released is not None or card.kind == "adapter",
        "latency": card.latency is not None or self_hosted,
    }
    return tuple(name for name, present in stated.items() if not present)


def _price(entry: str) -> Price | None:
    stated = litellm_map.card_facts(entry).get("price")
    return msgspec.convert(stated, Price, dec_hook=read_quantity) if stated else None


def _written(price: Price | None) -> Mapping[str, str]:
    plain = msgspec.to_builtins(price, enc_hook=write_quantity) if price is not None else {}
    return {name: str(value) for name, value in plain.items() if value is not None and not isinstance(value, dict)}


def _price_text(price: Price | None) -> str | None:
    return None if price is None else ", ".join(f"{name} {value}" for name, value in _written(price).items())


def _undated(model: str) -> str:
    return _DATE.sub("", model)


def _released(model: str) -> datetime.date | None:
    stated = litellm_map.snapshot_day(model)
    if stated is not None:
        return datetime.date.fromisoformat(stated)
    month = _YEAR_AND_MONTH.search(model)
    return datetime.date(2000 + int(month[1]), int(month[2]), 1) if month else None


def _version(model: str) -> tuple[int, ...]:
    found = _VERSION.search(model.rpartition("/")[2])
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()


def _months_before(day: datetime.date, months: int) -> datetime.date:
    years, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    last = calendar.monthrange(years, month + 1)[1]
    return datetime.date(years, month + 1, min(day.day, last))
