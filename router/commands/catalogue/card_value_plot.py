"""The picture of `route cards value`: who complements whom, and what the best few cards reach (extra `plot`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from router.analysis.card_value import ValueReport
from router.errors import ConfigurationError, MissingExtraError

_MOST_CARDS = 30
_MOST_LINES = 3


def write_picture(file: Path, report: ValueReport, title: str) -> None:
    """Write a PNG or SVG file, according to its suffix. Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "a picture") from None
    names = [card.card for card in sorted(report.cards, key=lambda card: -card.quality)][:_MOST_CARDS]
    place = {name: number for number, name in enumerate(names)}
    better = np.full((len(names), len(names)), np.nan)
    for pair in report.pairs:
        if pair.first in place and pair.second in place:
            first, second = place[pair.first], place[pair.second]
            better[first, second], better[second, first] = pair.second_better, pair.first_better
    width = 5 + 0.28 * len(names)
    figure, (pairs, sets) = pyplot.subplots(
        1, 2, figsize=(width + 5, width * 0.8), layout="constrained", width_ratios=(width, 5)
    )
    image = pairs.imshow(better * 100, cmap="YlGnBu", vmin=0)
    pairs.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    pairs.set_yticks(range(len(names)), names, fontsize=8)
    pairs.set_title("prompts (%) that the column gets better than the row", fontsize=10)
    figure.colorbar(image, ax=pairs, shrink=0.7)
    qualities = [chosen.quality for chosen in report.chosen]
    sets.barh(range(len(qualities)), qualities, color="#1f6f8b")
    for place_of_set, chosen in enumerate(report.chosen):
        more = len(chosen.cards) - _MOST_LINES
        lines = [*chosen.cards[:_MOST_LINES], *([f"and {more} more"] if more > 0 else [])]
        sets.text(0.01, place_of_set, "\n".join(lines), fontsize=7, color="white", va="center", clip_on=True)
        sets.text(chosen.quality, place_of_set, f" {chosen.quality:.3f}", fontsize=8, va="center")
    sets.axvline(report.oracle, color="#7d868e", linestyle="--", linewidth=1)
    sets.set_yticks(range(len(qualities)), [str(len(chosen.cards)) for chosen in report.chosen])
    sets.invert_yaxis()
    sets.set(xlabel="quality of the oracle (dashed: of all cards)", ylabel="number of cards", xlim=(0, 1.12))
    figure.suptitle("".join(each if each.isprintable() else " " for each in title), parse_math=False)
    try:
        figure.savefig(file, dpi=130)
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None
    finally:
        pyplot.close(figure)
