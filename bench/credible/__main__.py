"""Whether people who know the models would sign the forecasts and choices: `python -m bench.credible`.

Prints, next to the targets of the release and to release 0.1.0: everyday prompts with experts' labels, and the same
with each card's own ladder facts removed; cards placed by published facts alone on sets of judged answers; the cost of
a coding agent at the quality of the best single model, in real dollars; time, memory and size. Every run gives the same
figures, except for the last.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import msgspec

from bench.credible import agents, everyday, footprint, placement, report
from bench.credible.known_facts import KnownFacts
from bench.pages import write_between_markers
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
    parser.add_argument("--write", type=Path, help="also write the tables between the markers of this page")
    arguments = parser.parse_args()
    found: dict[str, object] = {}
    texts: list[str] = []
    data, parts = arguments.shared / "data", set(arguments.only)
    if "everyday" in parts:
        shown = everyday.judge(arguments.shared, arguments.cards, arguments.artifact)
        with tempfile.TemporaryDirectory() as folder:
            everyday.write_without_ladders(arguments.cards, Path(folder))
            without = everyday.judge(arguments.shared, Path(folder), arguments.artifact)
        found["everyday"] = {"now": shown, "without_ladder_facts": without}
        texts.append(report.everyday_text(shown, without))
    if parts & {"placement", "agents"}:
        predictor, catalog = load_predictor(arguments.artifact), load_catalog(arguments.cards)
        facts = KnownFacts(data, catalog, settings.shipped_facts_file())
        trained = {source.name for source in predictor.manifest.data_sets}
    if "placement" in parts:
        found["placement"] = placed = placement.measure(data, predictor, facts)
        texts.append(report.placement_text(placed, trained))
    if "agents" in parts:
        found["agents"] = money = agents.measure(data, predictor, facts)
        texts.append(report.agents_text(money, trained))
    if "footprint" in parts:
        now, before = footprint.measure()
        found["footprint"] = {"now": now, "0.1.0": before}
        texts.append(report.footprint_text(now, before))
    text = "\n\n".join(texts)
    print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() if arguments.json else text)
    if arguments.write is not None:
        write_between_markers(arguments.write, "bench.credible", text)


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.credible: {error} (--shared names the folder of the sets)") from None
