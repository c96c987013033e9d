"""A card that is not chosen becomes better: who notices it, and what exploration costs before."""

from __future__ import annotations

import numpy as np

from bench.learn.methods import ErrorMemory
from bench.learn.streams import FEEDBACK_SHARE, TENANTS, Outcomes
from router.commands.render import console, table
from router.decide.exploration.drawing import MOST_DRAWN
from router.decide.guard import confidence_of
from router.types import Doubles

_SECONDS_A_REQUEST, _START_S = 30.0, 1_790_000_000.0
_FIXED = 0.6


def improved(outcomes: Outcomes, streams: int, requests: int) -> None:
    """Print the mean real score before and after the change, without learning, with it, and with exploration."""
    shown = table("", "before", "over none, 95 %", "after", "over none, 95 %", "last quarter", "share of the card")
    base = [_run(outcomes, seed, requests, learns=False, share=0.0) for seed in range(streams)]
    for name, learns, share in (
        ("nothing", False, 0.0),
        ("learning", True, 0.0),
        ("exploring 2 %", False, 0.02),
        ("learning, exploring 2 %", True, 0.02),
        ("learning, exploring 5 %", True, 0.05),
        ("learning, exploring 20 %", True, 0.2),
    ):
        runs = [_run(outcomes, seed, requests, learns=learns, share=share) for seed in range(streams)]
        means, none = np.array(runs), np.array(base)
        shown.add_row(
            name,
            f"{means[:, 0].mean():.4f}",
            _over(means[:, 0] - none[:, 0]),
            f"{means[:, 1].mean():.4f}",
            _over(means[:, 1] - none[:, 1]),
            f"{means[:, 2].mean():.4f}",
            f"{means[:, 3].mean():.1%}",
        )
    console().print(
        f"[bold]{outcomes.name}[/]: after a third of {requests} requests, {FEEDBACK_SHARE:.0%} judged, the second best "
        f"card answers {_FIXED:.0%} of what it got wrong; {streams} streams"
    )
    console().print(shown)


def _run(outcomes: Outcomes, seed: int, requests: int, *, learns: bool, share: float) -> tuple[float, ...]:
    """The mean score before the change, after it, and in the last quarter; and the better card's share then."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(outcomes.scores), requests)
    best = outcomes.compared.argmax(axis=1)
    counts = np.bincount(best, minlength=len(outcomes.cards))
    favourite = int(counts.argmax())
    level = outcomes.expected.mean(axis=0)
    level[favourite] = -1.0
    better = int(level.argmax())
    scores, change_at = outcomes.scores[rows].copy(), requests // 3
    fixed = (np.arange(requests) >= change_at) & (rng.random(requests) < _FIXED)
    scores[fixed, better] = 1.0
    votes, numbers = rng.random(requests) < FEEDBACK_SHARE, rng.random(requests)
    tenants = rng.choice(TENANTS, requests).astype(object)
    memory = ErrorMemory(len(outcomes.cards)) if learns else None
    got, chosen = np.zeros(requests), np.zeros(requests, dtype=np.intp)
    for number, row in enumerate(rows.tolist()):
        now_s, tenant, cells = _START_S + _SECONDS_A_REQUEST * number, tenants[number], outcomes.cells[row]
        values = outcomes.compared[row]
        added = None if memory is None else memory.corrections(tenant, cells, now_s)
        if added is not None:
            values = np.clip(values + added, 1e-6, 1 - 1e-6)
        card = int(values.argmax())
        if numbers[number] < share:
            card = _drawn(values, outcomes.std[row], card, numbers[number] / share)
        chosen[number], got[number] = card, scores[number, card]
        if memory is not None and votes[number]:
            memory.learn(tenant, card, float(got[number] - outcomes.expected[row, card]), cells, now_s)
    last = slice(requests - requests // 4, None)
    return (
        float(got[:change_at].mean()),
        float(got[change_at:].mean()),
        float(got[last].mean()),
        float((chosen[last] == better).mean()),
    )


def _drawn(values: Doubles, std: Doubles, choice: int, number: float) -> int:
    """The card that exploration draws, as the engine does with quality as the only goal."""
    may = np.flatnonzero((values + std > values[choice]) & (np.arange(len(values)) != choice))
    advantage, doubt = values - values[choice], np.hypot(std, std[choice])
    odds = {card: confidence_of(float(advantage[card]), float(doubt[card])) for card in may.tolist()}
    best = sorted(odds.items(), key=lambda each: (-each[1], each[0]))[:MOST_DRAWN]
    if not best:
        return choice
    ends = np.cumsum([odd for _, odd in best])
    return best[min(int(np.searchsorted(ends, number * ends[-1], side="right")), len(best) - 1)][0]


def _over(differences: np.ndarray) -> str:
    rng = np.random.default_rng(0)
    means = differences[rng.integers(0, len(differences), (1_000, len(differences)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{differences.mean():+.4f} [{low:+.4f} {high:+.4f}]"
