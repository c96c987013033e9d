"""The results as Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from bench.gateway.report import table
from bench.hostile.attack import GROWTH_MB, SPARE_FILES
from bench.hostile.trial import Result

HEALTH_MS = 1_000.0
_ROUNDING_USD = 1e-6


class Verdict(msgspec.Struct, frozen=True):
    """One cell: what was measured, and whether it must hold and does not."""

    text: str
    fails: bool = False

    @property
    def shown(self) -> str:
        """The cell's text."""
        return f"**{self.text}**" if self.fails else self.text


def verdicts(result: Result) -> dict[str, Verdict]:
    """The gates of one attack, by column."""
    growth = result.use.pss_mb - result.before_mb
    use, beside, without = result.use, result.beside, result.without
    is_full = bool(use.files_limit) and use.files >= use.files_limit
    return {
        "memory": Verdict(f"+{max(growth, 0):.0f} MB", growth > GROWTH_MB),
        "files": Verdict(f"{use.files} of {use.files_limit}", is_full or result.files_after > SPARE_FILES),
        "slots": Verdict("–" if result.in_flight is None else f"{result.in_flight:.0f} left", bool(result.in_flight)),
        "health": Verdict(f"{beside.health_ms / 1e3:.2f} s", beside.health_ms > HEALTH_MS),
        "money": _money(result),
        "others": Verdict(f"{len(beside.wrong)} wrong", bool(beside.wrong)),
        "served without": Verdict(f"{without.share:.0%}"),
        "served beside": Verdict(f"{beside.share:.0%}", beside.share < without.share),
        "p95 without": Verdict(_ms(without.p95_ms)),
        "p95 beside": Verdict(_ms(beside.p95_ms)),
        "itself": Verdict(f"{len(result.problems)} problems" if result.problems else "held", bool(result.problems)),
    }


def _money(result: Result) -> Verdict:
    if result.charged_usd is None:
        return Verdict("–")
    text = f"{result.charged_usd:.2f} $ for {result.delivered_usd:.2f} $"
    too_little = result.charged_usd < result.delivered_usd - _ROUNDING_USD
    too_much = result.allowed_usd is not None and result.delivered_usd > result.allowed_usd + _ROUNDING_USD
    return Verdict(text, too_little or too_much)


def _ms(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f} ms"


def text(results: Sequence[Result]) -> str:
    """A table for every gateway, what failed, and how many attacks held."""
    parts = []
    for gateway in dict.fromkeys(result.gateway for result in results):
        rows = {result.attack: verdicts(result) for result in results if result.gateway == gateway}
        columns = list(next(iter(rows.values())))
        body = [[name, *(cells[column].shown for column in columns)] for name, cells in rows.items()]
        held = sum(not any(cell.fails for cell in cells.values()) for cells in rows.values())
        parts.append(f"{gateway}: {held} of {len(rows)} attacks held\n\n{table([gateway, *columns], body)}")
        parts += details([result for result in results if result.gateway == gateway])
    return "\n\n".join(parts)


def details(results: Sequence[Result]) -> Iterator[str]:
    """What was wrong in each attack that did not hold, if anything can be named."""
    lines = []
    for result in results:
        kinds = Counter(result.problems) + Counter(f"honest: {wrong}" for wrong in result.beside.wrong)
        lines += [f"- {result.attack}: {count} × {problem}" for problem, count in kinds.most_common(4)]
    if lines:
        yield "\n".join(lines)
