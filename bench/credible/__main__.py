"""Whether people who know the models would sign the forecasts and choices: `python -m bench.credible`.

Prints, next to the targets of the release and to release 0.1.0: (a) everyday prompts with experts' labels, (b) the same
with each card's own ladder facts removed, (c) cards placed by published facts alone on sets of judged answers, (d) the
cost of a coding agent at the quality of the best single model, in real dollars, (e) time, memory and size. The same
run gives the same figures, but for (e).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bench.credible import agents, everyday, footprint, placement
from bench.credible.known_facts import KnownFacts
from router import settings
from router.cards.catalog import load_catalog
from router.errors import PulvinarError
from router.loading import load_predictor

PARTS = ("everyday", "placement", "agents", "footprint")


def main() -> None:
    """Measure the parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with everyday and data")
    parser.add_argument("--artifact", type=Path, default=settings.default_artifact_folder())
    parser.add_argument("--cards", type=Path, default=settings.shipped_cards_folder())
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    found: dict[str, object] = {}
    if "everyday" in arguments.only:
        shown = everyday.judge(arguments.shared, arguments.cards, arguments.artifact)
        with tempfile.TemporaryDirectory() as folder:
            everyday.write_without_ladders(arguments.cards, Path(folder))
            without = everyday.judge(arguments.shared, Path(folder), arguments.artifact)
        found["everyday"] = {"default": shown, "without_ladders": without}
        if not arguments.json:
            show_everyday(shown, without)
    data = arguments.shared / "data"
    if {"placement", "agents"} & set(arguments.only):
        predictor, catalog = load_predictor(arguments.artifact), load_catalog(arguments.cards)
        facts = KnownFacts(data, catalog, settings.shipped_facts_file())
        trained = {source.name for source in predictor.manifest.data_sets}
        if "placement" in arguments.only:
            found["placement"] = placed = placement.measure(data, predictor, facts)
            if not arguments.json:
                show_placement(placed, trained)
        if "agents" in arguments.only:
            found["agents"] = money = agents.measure(data, predictor, facts)
            if not arguments.json:
                show_money(money, trained)
    if "footprint" in arguments.only:
        now, before = footprint.measure()
        found["footprint"] = {"now": now, "0.1.0": before}
        if not arguments.json:
            show_footprint(now, before)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())


def show_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as Markdown."""
    table = [list(headers), ["---"] + ["---:"] * (len(headers) - 1), *map(list, rows)]
    for row in table:
        print("| " + " | ".join(row) + " |")
    print()


def show_everyday(shown: Mapping[str, float | None], without: Mapping[str, float | None]) -> None:
    """Parts (a) and (b)."""
    rows = []
    for figure in everyday.FIGURES:
        holds = figure.holds(shown[figure.name])
        met = "" if holds is None else "yes" if holds else "no"
        values = (_three(figure.before), _three(shown[figure.name]), _three(without[figure.name]))
        rows.append((figure.name, figure.target, *values, met))
    show_table(("everyday prompts", "target", "0.1.0", "now", "without ladder facts", "met"), rows)


def show_placement(placed: placement.Placement, trained: set[str]) -> None:
    """Part (c)."""
    rows = [
        (
            f"{result.data_set}{' (trained on)' if result.data_set in trained else ''}",
            f"{result.models}",
            str(result.all_models),
            f"{result.with_benchmarks}",
            str(result.known),
            _three(result.ceiling),
        )
        for result in placed.sets
    ]
    rows.append(("mean over sets", "", _three(placed.mean), "", _three(placed.mean_known), ""))
    headers = (
        "cards placed by facts alone",
        "models",
        "Spearman (95 %)",
        "with benchmarks",
        "Spearman (95 %)",
        "ceiling",
    )
    show_table(headers, rows)
    print(f"Target of the mean: ≥ {placement.TARGET:g}. By number of known benchmarks, ranks within sets:")
    print(", ".join(f"{name}: {value:.3f} ({count} models)" for name, (count, value) in placed.by_facts.items()))
    print("\nFurthest from their rank (0 worst, 1 best of the set):")
    for one in placed.worst:
        ends = f"real {one.real_rank:.2f}, forecast {one.forecast_rank:.2f}"
        print(f"- {one.data_set}: {one.model}, {one.facts} benchmarks: {ends}")
    print()


def show_money(found: Sequence[agents.Money], trained: set[str]) -> None:
    """Part (d)."""
    note = "trained on it" if agents.SET in trained else "not trained on it"
    for money in found:
        quality, cost = f"{money.best_quality:.3f}", f"{money.best_cost_usd:.3f} $ a task"
        print(f"{agents.SET} ({note}), {money.models} models; best single: {money.best}, quality {quality}, {cost}\n")
        rows = [
            (way.name, str(way.quality_gain), str(way.cost_fraction), f"{way.cards:.1f}", way.most)
            for way in money.ways
        ]
        headers = ("choice", "quality less the best's (95 %)", "cost / the best's (95 %)", "cards", "most often")
        show_table(headers, rows)
        print(agents.verdict(money) + "\n")


def show_footprint(now: footprint.Footprint, before: footprint.Footprint | None) -> None:
    """Part (e)."""
    rows = []
    for name in footprint.Footprint.__struct_fields__:
        value = getattr(now, name)
        old = None if before is None else getattr(before, name)
        change = "" if old is None else f"{value / old - 1:+.0%}"
        rows.append((name, "–" if old is None else f"{old:.3f}", f"{value:.3f}", change))
    show_table(("decision over 100 cards, artifact", "0.1.0", "now", "change"), rows)
    fits = "yes" if now.size_mb <= footprint.MOST_MB else "no"
    print(f"Encoder and predictor at most {footprint.MOST_MB:g} MB: {fits}.")


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.credible: {error} (--shared names the folder of the sets)") from None
