"""Whether a domain that the predictor never saw becomes one gap: `python -m bench.learn.gaps`.

A predictor is fitted on a third of the prompts of a set. A week of traffic is a thousand of its other prompts, and
`--share` of them beside it from a planted set of another kind. `found` is the gap that has most of the planted prompts:
its purity is the share of them in it. Without planted prompts, every gap is a false one. `--tune` plants other sets,
on which the constants were chosen.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from msgspec import Struct

from bench.learn.options import parser_of
from router import settings
from router.analysis.gaps import NOVEL, clusters
from router.commands.render import console, table
from router.errors import PulvinarError
from router.learn.data import load_set
from router.learn.data.routing_set import RoutingSet
from router.learn.data.vectors import vectors_of
from router.learn.training.train import fit
from router.loading import load_encoder
from router.perceive.text.encoder import Encoder
from router.types import Floats

BASES = ("mmlu_pro", "llmrouter_default")
PLANTED = ("openhands_swe", "sql_bench", "shaberi_ja", "terminal_bench")
TUNED = ("bullshit_bench", "pm_llm", "julia_code", "alpaca_eval2")
_TRAFFIC = 1_000


class Found(Struct, frozen=True):
    """The gap of planted prompts in one week: what is novel of them and of the others, and all gaps."""

    planted: int
    novel: float
    novel_others: float
    gaps: int
    purity: float
    held: float
    false_gaps: int


def main() -> None:
    """Print one table for each set."""
    parser = parser_of(__doc__, BASES, weeks=10)
    parser.add_argument("--share", type=float, default=0.06)
    parser.add_argument("--tune", action="store_true", help="on what judges nothing")
    arguments = parser.parse_args()
    encoder = load_encoder(settings.STATIC_ENCODER)
    for name in arguments.sets:
        start = time.monotonic()
        judge(arguments.data, name, TUNED if arguments.tune else PLANTED, encoder, arguments.weeks, arguments.share)
        print(f"{name}: {time.monotonic() - start:.0f} s\n", flush=True)


def judge(data: Path, name: str, planted: tuple[str, ...], encoder: Encoder, weeks: int, share: float) -> None:
    """Print what becomes of each planted set."""
    base = _complete(load_set(data / name))
    rows = np.random.default_rng(0).permutation(len(base.prompts))
    third = len(rows) // 3
    fitted = base.rows(rows[:third])
    predictor = fit(vectors_of(fitted.prompts, encoder), fitted, encoder)
    usual = vectors_of(base.rows(rows[third:]).prompts, encoder)
    columns = (
        "planted",
        "novel",
        "novel, others",
        "gaps",
        "purity",
        "95 %",
        "at least .8",
        "of the planted",
        "false gaps",
    )
    shown = table("planted", *columns, right=columns)

    def week(others: Floats, seed: int) -> Found:
        rng = np.random.default_rng(seed)
        count = min(round(share * _TRAFFIC), len(others))
        own = usual[rng.choice(len(usual), min(_TRAFFIC, len(usual)), replace=False)]
        vectors = np.concatenate([own, others[rng.choice(len(others), count, replace=False)]]) if count else own
        is_planted = np.arange(len(vectors)) >= len(own)
        is_novel = predictor.profile(vectors).novelty >= NOVEL
        topics = predictor.topics(vectors)
        groups = [is_planted[is_novel][group] for group in clusters(topics[is_novel], topics[~is_novel])]
        best = max(groups, key=lambda group: int(group.sum()), default=np.zeros(0, dtype=np.bool_))
        return Found(
            count,
            float(is_novel[is_planted].mean()) if count else 0.0,
            float(is_novel[~is_planted].mean()),
            len(groups),
            float(best.mean()) if len(best) else 0.0,
            float(best.sum()) / max(count, 1),
            sum(not group.any() for group in groups),
        )

    for other in (None, *planted):
        vectors = usual[:0] if other is None else vectors_of(load_set(data / other).prompts, encoder)
        found = [week(vectors, seed) for seed in range(weeks)]
        purity = np.array([each.purity for each in found])
        shown.add_row(
            other or "nothing",
            f"{found[0].planted}",
            f"{np.mean([each.novel for each in found]):.0%}" if other else "",
            f"{np.mean([each.novel_others for each in found]):.0%}",
            f"{np.mean([each.gaps for each in found]):.1f}",
            f"{purity.mean():.2f}" if other else "",
            f"{np.quantile(purity, 0.025):.2f} to {np.quantile(purity, 0.975):.2f}" if other else "",
            f"{(purity >= 0.8).mean():.0%}" if other else "",
            f"{np.mean([each.held for each in found]):.0%}" if other else "",
            f"{np.mean([each.false_gaps for each in found]):.1f}",
        )
    console().print(f"[bold]{name}[/]: {third} prompts fitted, {weeks} weeks of {_TRAFFIC} requests")
    console().print(shown)


def _complete(data: RoutingSet) -> RoutingSet:
    columns = np.flatnonzero(np.isfinite(data.scores).mean(axis=0) > 0.8)[:12]
    data = data.columns([data.models[column] for column in columns.tolist()])
    return data.rows(np.flatnonzero(np.isfinite(data.scores).all(axis=1)))


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.learn.gaps: {error} (--data names the folder of the sets)") from None
