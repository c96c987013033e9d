"""How soon and how often there are alarms about cards, on real outcomes: `python -m bench.learn.drift`.

Streams of judged answers of five keys (`Judged` of the gateway's own `CardDrift`), with real prompts, forecasts and
outcomes of cards and prompts that no constant was chosen on. For delays, each card in turn loses right answers after
300 judgements: `drop` is by how much its mean score falls. A delay is the number of judgements of the card until an
alarm for everybody; a stream without one within 600 counts as infinite. For false alarms, nothing happens in 30 days
with a request every 30 seconds, of which a tenth is judged: 8,640 judgements of the cards that the forecasts choose.
`--tune` prints the same for the other cards and prompts, on which the thresholds were chosen.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from bench.learn.options import parser_of
from bench.learn.streams import TENANTS, Outcomes, load
from router import settings
from router.analysis.drift.judged import Alarm, CardDrift, Judged
from router.commands.render import console, table
from router.errors import PulvinarError
from router.loading import load_encoder
from router.types import Doubles

SETS = ("mmlu_pro", "llmrouter_default", "openhands_swe")
JUDGED_A_DAY, DAYS = 288, 30
_BEFORE, _AFTER = 300, 600
_EVERY_S, _START_S = 86_400.0 / JUDGED_A_DAY, 1_790_000_000.0
_HOSTILE, _BROKEN_DOMAINS = 0.2, 5


class Case(Struct, frozen=True):
    """What happens to a card: its mean score falls by `drop`, in `domains` of its domains, 0 for everywhere. `hostile`
    is the share of judgements that one key gives, all of them false.
    """

    name: str
    drop: float
    domains: int = 0
    hostile: float = 0.0


CASES = (
    Case("drop of .1", 0.1),
    Case("drop of .2", 0.2),
    Case("drop of .2, a fifth of the votes hostile", 0.2, hostile=_HOSTILE),
    Case("drop of .4", 0.4),
    Case("drop of .4 in 5 domains", 0.4, _BROKEN_DOMAINS),
)


class Delay(Struct, frozen=True):
    """Judgements until the alarm, infinite for none; whether alarms name a domain that broke, and another one."""

    judged: float
    early: bool
    names_broken: bool
    names_other: bool


def main() -> None:
    """Print two tables for each set."""
    parser = parser_of(__doc__, SETS, streams=6, months=10)
    parser.add_argument("--tune", action="store_true", help="on what judges nothing")
    arguments = parser.parse_args()
    encoder = load_encoder(settings.STATIC_ENCODER)
    for name in arguments.sets:
        start = time.monotonic()
        outcomes = load(arguments.data / name, encoder, "tune" if arguments.tune else "judge")
        print_delays(outcomes, arguments.streams, 100 if arguments.tune else 0)
        print_false(outcomes, arguments.months, 100 if arguments.tune else 0)
        print(f"{name}: {time.monotonic() - start:.0f} s\n", flush=True)


def print_delays(outcomes: Outcomes, streams: int, seed: int) -> None:
    """Print how long each case takes to be noticed."""
    columns = ("median delay", "95 %", "9 of 10", "within 600", "before the drop", "domain named", "another named")
    shown = table("what happens", *columns, right=columns)
    means = outcomes.scores.mean(axis=0)
    for case in CASES:
        # A card that is right less often cannot lose so much.
        cards = [card for card, mean in enumerate(means) if mean - case.drop > 0.05]
        if not cards or (case.domains and len(set(outcomes.domains)) < 2 * case.domains):
            continue
        delays = [_delay(outcomes, case, card, seed + each) for card in cards for each in range(streams)]
        found = np.array([each.judged for each in delays])
        shown.add_row(
            f"{case.name} ({len(cards)} cards)",
            f"{np.median(found):.0f}",
            _interval(found, np.median),
            f"{np.quantile(found, 0.9, method='higher'):.0f}",
            f"{np.isfinite(found).mean():.0%}",
            f"{sum(each.early for each in delays)} of {len(delays)}",
            f"{np.mean([each.names_broken for each in delays]):.0%}" if case.domains else "",
            f"{np.mean([each.names_other for each in delays]):.0%}" if case.domains else "",
        )
        print(case.name, f"{np.median(found):.0f}", file=sys.stderr, flush=True)
    console().print(f"[bold]{outcomes.name}[/]: {len(outcomes.cards)} cards, {len(outcomes.scores)} prompts")
    console().print(shown)


def print_false(outcomes: Outcomes, months: int, seed: int) -> None:
    """Print how many alarms there are in months in which nothing happens."""
    shown = table("nothing happens", "alarms in 30 days", "95 %", "most in one month")
    for name, hostile in (("honest votes", 0.0), ("a fifth of the votes one key's, and false", _HOSTILE)):
        counts = np.array([len(_month(outcomes, hostile, seed + number)) for number in range(months)], dtype=np.float64)
        shown.add_row(name, f"{counts.mean():.2f}", _interval(counts, np.mean), f"{counts.max():.0f}")
    console().print(shown)


def _delay(outcomes: Outcomes, case: Case, card: int, seed: int) -> Delay:
    rng = np.random.default_rng((seed, card))
    rows = rng.integers(0, len(outcomes.scores), _BEFORE + _AFTER)
    values = outcomes.scores[rows, card].copy()
    broken = _broken(outcomes.domains, case.domains)
    is_broken = np.array([not broken or outcomes.domains[row] in broken for row in rows])
    is_after = np.arange(len(rows)) >= _BEFORE
    mean = outcomes.scores[[not broken or domain in broken for domain in outcomes.domains], card].mean()
    values[is_after & is_broken & (rng.random(len(rows)) < case.drop / mean)] = 0.0
    drift, early, others = CardDrift.empty(""), False, set[str]()
    for number, (row, value) in enumerate(zip(rows.tolist(), values.tolist(), strict=True)):
        drift = drift.add(_judged(outcomes, rng, number, row, card, value, case.hostile))
        alarms = [alarm for alarm in drift.alarms if alarm.key is None and alarm.direction == "worse"]
        if number < _BEFORE:
            early = early or bool(alarms)
            continue
        new = [alarm for alarm in alarms if alarm.raised_s >= _START_S + _BEFORE * _EVERY_S]
        if new:
            # Domains that are named within as many judgements again count too.
            names = {alarm.kind for alarm in _later(outcomes, rng, drift, rows, values, number, card) if alarm.kind}
            others = names - broken
            return Delay(number - _BEFORE + 1, early, bool(names & broken), bool(others))
    return Delay(float("inf"), early, False, False)


def _later(
    outcomes: Outcomes,
    rng: np.random.Generator,
    drift: CardDrift,
    rows: np.ndarray,
    values: Doubles,
    number: int,
    card: int,
) -> Sequence[Alarm]:
    for later in range(number + 1, min(_BEFORE + 2 * (number - _BEFORE) + 60, len(rows))):
        drift = drift.add(_judged(outcomes, rng, later, int(rows[later]), card, float(values[later]), 0.0))
    return [alarm for alarm in drift.alarms if alarm.key is None and alarm.direction == "worse"]


def _month(outcomes: Outcomes, hostile: float, seed: int) -> list[Alarm]:
    rng = np.random.default_rng((seed, 1))
    drifts: dict[int, CardDrift] = {}
    chosen = outcomes.compared.argmax(axis=1)
    for number, row in enumerate(rng.integers(0, len(outcomes.scores), JUDGED_A_DAY * DAYS).tolist()):
        card = int(chosen[row])
        drift = drifts.get(card, CardDrift.empty(""))
        drifts[card] = drift.add(_judged(outcomes, rng, number, row, card, float(outcomes.scores[row, card]), hostile))
    return [alarm for drift in drifts.values() for alarm in drift.alarms if alarm.key is None]


def _judged(
    outcomes: Outcomes, rng: np.random.Generator, number: int, row: int, card: int, value: float, hostile: float
) -> Judged:
    is_hostile = hostile > 0 and rng.random() < hostile
    tenant = "hostile" if is_hostile else TENANTS[int(rng.integers(len(TENANTS)))]
    at_s = _START_S + number * _EVERY_S
    expected = float(outcomes.expected[row, card])
    return Judged(at_s, tenant, expected, 1.0 - value if is_hostile else value, outcomes.domains[row])


def _broken(domains: Sequence[str], count: int) -> frozenset[str]:
    names = sorted(set(domains), key=lambda name: (-domains.count(name), name))
    return frozenset(names[::2][:count])


def _interval(values: Doubles, statistic: Callable[..., np.ndarray]) -> str:
    """The 95 % bootstrap interval of a statistic over the streams."""
    drawn = values[np.random.default_rng(0).integers(0, len(values), (1_000, len(values)))]
    low, high = np.quantile(statistic(drawn, axis=1), (0.025, 0.975), method="nearest")
    return f"{low:.3g} to {high:.3g}"


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.learn.drift: {error} (--data names the folder of the sets)") from None
