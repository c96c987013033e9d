"""The benchmarks that count as evidence of a model's ability, and their scales.

A card may state any benchmark. Only these are comparable between models, because most models report them, and report
them on the same scale. docs/model-cards.md has the same table.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from msgspec import Struct


class Scale(Struct, frozen=True):
    """What a benchmark measures, its least and greatest possible score, and other spellings of its name."""

    measures: str
    least: float = 0.0
    greatest: float = 100.0
    spellings: tuple[str, ...] = ()


BENCHMARKS: Mapping[str, Scale] = {
    "mmlu": Scale("knowledge in 57 subjects, four options", spellings=("mmlu_5_shot", "hendrycks_test")),
    "mmlu_pro": Scale("knowledge and reasoning in 14 subjects, ten options"),
    "gpqa": Scale("graduate science, four options (Diamond where both are published)", spellings=("gpqa_diamond",)),
    "arc_challenge": Scale("school science, four options, answered by letter", spellings=("arc_c", "arc", "ai2_arc")),
    "hellaswag": Scale("how an everyday scene goes on, by likelihood"),
    "winogrande": Scale("what a pronoun refers to"),
    "bbh": Scale(
        "27 hard tasks of BIG-Bench, with reasoning written out", spellings=("big_bench_hard", "bigbench_hard")
    ),
    "gsm8k": Scale("school arithmetic in words, one answer", spellings=("gsm",)),
    "math": Scale("competition mathematics, one answer (MATH or MATH-500)", spellings=("math_500", "hendrycks_math")),
    "humaneval": Scale("Python functions from their docstrings, pass@1", spellings=("human_eval_pass_1",)),
    "mbpp": Scale("short Python programs, pass@1, the original tests"),
    "ifeval": Scale("instructions a program can check", spellings=("if_eval_strict",)),
    "mt_bench": Scale("two-turn chat, marked from 1 to 10 by GPT-4", least=1.0, greatest=10.0),
    "alpaca_eval_2": Scale(
        "win rate over GPT-4 Turbo, length-controlled", spellings=("alpaca_eval", "alpacaeval_2_0_lc")
    ),
    "arena_hard": Scale("win rate over GPT-4-0314 on hard chat prompts, v0.1", spellings=("arena_hard_auto",)),
}


def share_of_scale(name: str, score: float) -> float | None:
    """`score` mapped linearly from the benchmark's scale to [0, 1]; None for a benchmark that is not listed here.

    Raises ValueError, with what was expected, for a score outside the scale. A score in (0, 1] on a scale up to 100 is
    rejected too: it is nearly always a share, and would count as the worst model of all.
    """
    scale = BENCHMARKS.get(name)
    if scale is None:
        return None
    if not scale.least <= score <= scale.greatest:
        raise ValueError(f"expected a score from {scale.least:g} to {scale.greatest:g}, got {score:g}")
    if scale.greatest == 100 and 0 < score <= 1:
        percent = f"{score * 100:.4g}"
        raise ValueError(f"expected a score out of 100, got {score:g}; did you mean {percent}?")
    return (score - scale.least) / (scale.greatest - scale.least)


def near_miss(name: str) -> str | None:
    """The listed benchmark that `name` is most likely a misspelling of; None where `name` is listed or not similar."""
    if name in BENCHMARKS:
        return None
    meant = {
        _squashed(spelling): known for known, scale in BENCHMARKS.items() for spelling in (known, *scale.spellings)
    }
    near = difflib.get_close_matches(_squashed(name), list(meant), n=1, cutoff=0.85)
    return meant[near[0]] if near else None


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
