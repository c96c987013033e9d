"""Cards made of nothing but published facts, for models of routing data sets that the catalogue lacks."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from router.cards.benchmarks import BENCHMARKS
from router.cards.catalog import Catalog
from router.cards.facts import ModelFacts
from router.cards.price import Price
from router.cards.schema import Benchmark, Card
from router.formats.quantities import Day, Dollars, Size
from router.learn.data.facts import load_facts
from router.learn.data.leaderboards import facts_from_name, family_of, model_key, read_leaderboards
from router.learn.data.price_map import listed_prices, snapshot_dates

SOURCE = "published"

_PLACE = {"none": 0, "minimal": 1, "low": 2, "medium": 3, "": 3, "thinking": 4, "high": 4, "xhigh": 5, "max": 6}
"""Efforts in order; a model whose effort is not named is taken to think moderately, as providers let it."""

_DATED = re.compile(r"20\d\d-\d\d(-\d\d)?")


class _Entry(Struct):
    aliases: list[str] = []
    usd_per_m_input: float | None = None
    usd_per_m_output: float | None = None


class _Scored(Struct, frozen=True):
    """A score, and the effort at which it was reached."""

    effort: str
    score: float


class KnownFacts:
    """Everything published that the folder of shared data, the catalogue and the installed price map know of models.

    A model's scores on a routing data set are never among the facts.
    """

    def __init__(self, data: Path, catalog: Catalog, facts_file: Path) -> None:
        """Read the facts. Raises FileError and ConfigurationError."""
        entries = msgspec.json.decode((data / "models_more.json").read_bytes(), type=dict[str, _Entry])
        self._canonical = {alias: name for name, entry in entries.items() for alias in entry.aliases}
        self._scores: dict[str, dict[str, list[_Scored]]] = {}
        self._facts: dict[str, ModelFacts] = {}
        self._released: dict[str, datetime.date] = {}
        self._run: dict[str, datetime.date] = {}
        for (model, effort), shares in read_leaderboards(data / "facts").items():
            for benchmark, share in shares.items():
                scale = BENCHMARKS[benchmark]
                self._add(model, benchmark, effort, scale.least + share * (scale.greatest - scale.least))
        # Efforts of a card are known by their benchmarks.
        for card in (card for card in catalog if "@" not in card.id):
            for benchmark, stated in card.benchmarks.items():
                if benchmark in BENCHMARKS:
                    self._add(model_key(card.id)[0], benchmark, stated.effort or "", stated.score)
        for name, facts in load_facts(facts_file, catalog).items():
            self._facts.setdefault(model_key(name)[0], facts)
        self._prices = listed_prices()
        for name, entry in entries.items():
            if entry.usd_per_m_input is not None and entry.usd_per_m_output is not None:
                self._prices[self.key(name)[0]] = Price(Dollars(entry.usd_per_m_input), Dollars(entry.usd_per_m_output))
        self._read_release_dates(data)

    def key(self, name: str) -> tuple[str, str]:
        """The model and effort that a data set calls `name`."""
        return model_key(self._canonical.get(name, name))

    def card(self, name: str, without: Iterable[str] = ()) -> Card:
        """The card of the model that a data set calls `name`, without the benchmarks whose names begin with one of
        `without`. Of a benchmark run at several efforts, the score at the nearest effort counts.
        """
        (model, effort), facts = self.key(name), self._facts.get(self.key(name)[0])
        named = facts_from_name(model)
        total = named.total_parameters or (facts.total_parameters if facts else None)
        active = named.active_parameters or (facts.active_parameters if facts else None)
        of_facts = facts.released if facts else None
        released = self._released.get(model) or of_facts or self._run.get(model)
        card_id = re.sub(r"[^A-Za-z0-9._:/@+-]", "-", f"facts/{name}")
        benchmarks = {
            benchmark: Benchmark(min(found, key=lambda one: _distance(one, effort)).score, SOURCE)
            for benchmark, found in sorted(self._scores.get(model, {}).items())
            if not benchmark.startswith(tuple(without))
        }
        return Card(
            id=card_id,
            provider=SOURCE,
            model=card_id,
            family=(facts.family if facts else None) or family_of(model),
            size=None if total is None else Size(total, active),
            released=None if released is None else Day(released.year, released.month, released.day),
            weights=facts.weights if facts else None,
            price=self._prices.get(model),
            benchmarks=benchmarks,
        )

    def _add(self, model: str, benchmark: str, effort: str, score: float) -> None:
        self._scores.setdefault(model, {}).setdefault(benchmark, []).append(_Scored(effort, score))

    def _read_release_dates(self, data: Path) -> None:
        """Stated dates, else those in the names of snapshots; and days of runs, which are soon after a release."""
        stated: dict[str, str] = {}
        run: dict[str, str] = {}
        for file in sorted(data.glob("*/meta.json")):
            meta = json.loads(file.read_text(encoding="utf-8"))
            stated |= meta.get("released", {})
            run |= meta.get("run_date", {})
        for fact in json.loads((data / "facts" / "facts.json").read_text(encoding="utf-8"))["facts"]:
            if fact["benchmark"] == "released" and fact.get("exact_model") is not False:
                stated[fact["model"]] = str(fact["value"])
        for dates, found in ((self._released, stated.items()), (self._run, run.items())):
            for name, text in found:
                if match := _DATED.search(text):
                    day = match[0] if len(match[0]) > len("2026-01") else f"{match[0]}-01"
                    dates.setdefault(self.key(name)[0], datetime.date.fromisoformat(day))
        self._released = snapshot_dates() | self._released


def _distance(scored: _Scored, effort: str) -> tuple[int, bool, int]:
    """How far the effort of a score is from `effort`: of two as far, the named one and then the greater."""
    place = _PLACE.get(scored.effort, _PLACE[""])
    return abs(place - _PLACE.get(effort, _PLACE[""])), scored.effort != effort, -place
