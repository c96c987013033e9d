"""The benchmarks that count as evidence of a model's ability, and their scales.

A card may state any benchmark. Only these are comparable between models, because most models report them, and report
them on the same scale. docs/model-cards.md has the same table.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Literal, get_args

from msgspec import Struct

Family = Literal[
    "general", "knowledge", "maths", "coding", "agents", "instructions", "chat", "long_context", "languages"
]
"""A family of tasks. `general` is what most benchmarks have in common."""

FAMILIES: tuple[Family, ...] = get_args(Family)


class Scale(Struct, frozen=True):
    """What a benchmark measures, its family of tasks, its least and greatest possible score, and other spellings of its
    name.

    The scores of most benchmarks are shares, which crowd near their ends; a `rating`, such as an Elo score, does not.
    """

    measures: str
    family: Family
    least: float = 0.0
    greatest: float = 100.0
    spellings: tuple[str, ...] = ()
    rating: bool = False


def _arena(measures: str, family: Family) -> Scale:
    return Scale(f"LMArena text, style control: {measures}", family, 600.0, 2000.0, rating=True)


def _livebench(release: str) -> dict[str, Scale]:
    categories: Mapping[str, Family] = {
        "reasoning": "knowledge",
        "coding": "coding",
        "agentic_coding": "agents",
        "mathematics": "maths",
        "data_analysis": "instructions",
        "language": "chat",
        "instructions": "instructions",
    }
    return {
        f"livebench_{release}_{category}": Scale(f"LiveBench {release.replace('_', '-')}, {category}", family)
        for category, family in categories.items()
    }


BENCHMARKS: Mapping[str, Scale] = {
    "mmlu": Scale("knowledge in 57 subjects, four options", "knowledge", spellings=("mmlu_5_shot", "hendrycks_test")),
    "mmlu_pro": Scale("knowledge and reasoning in 14 subjects, ten options", "knowledge"),
    "gpqa": Scale(
        "graduate science, four options (Diamond where both are published)", "knowledge", spellings=("gpqa_diamond",)
    ),
    "arc_challenge": Scale(
        "school science, four options, answered by letter", "knowledge", spellings=("arc_c", "arc", "ai2_arc")
    ),
    "hellaswag": Scale("how an everyday scene goes on, by likelihood", "knowledge"),
    "winogrande": Scale("what a pronoun refers to", "knowledge"),
    "bbh": Scale(
        "27 hard tasks of BIG-Bench, with reasoning written out",
        "knowledge",
        spellings=("big_bench_hard", "bigbench_hard"),
    ),
    "gsm8k": Scale("school arithmetic in words, one answer", "maths", spellings=("gsm",)),
    "math": Scale(
        "competition mathematics, one answer (MATH or MATH-500)", "maths", spellings=("math_500", "hendrycks_math")
    ),
    "humaneval": Scale("Python functions from their docstrings, pass@1", "coding", spellings=("human_eval_pass_1",)),
    "mbpp": Scale("short Python programs, pass@1, the original tests", "coding"),
    "ifeval": Scale("instructions a program can check", "instructions", spellings=("if_eval_strict",)),
    "mt_bench": Scale("two-turn chat, marked from 1 to 10 by GPT-4", "chat", least=1.0, greatest=10.0),
    "alpaca_eval_2": Scale(
        "win rate over GPT-4 Turbo, length-controlled", "chat", spellings=("alpaca_eval", "alpacaeval_2_0_lc")
    ),
    "arena_hard": Scale("win rate over GPT-4-0314 on hard chat prompts, v0.1", "chat", spellings=("arena_hard_auto",)),
    "lmarena_text": _arena("all prompts", "general"),
    "lmarena_hard": _arena("hard prompts", "general"),
    "lmarena_expert": _arena("prompts of experts", "knowledge"),
    "lmarena_coding": _arena("coding", "coding"),
    "lmarena_math": _arena("mathematics", "maths"),
    "lmarena_instructions": _arena("instruction following", "instructions"),
    "lmarena_creative_writing": _arena("creative writing", "chat"),
    "lmarena_multi_turn": _arena("conversations", "chat"),
    "lmarena_long_query": _arena("long prompts", "long_context"),
    "lmarena_chinese": _arena("Chinese", "languages"),
    "lmarena_french": _arena("French", "languages"),
    "lmarena_german": _arena("German", "languages"),
    "lmarena_japanese": _arena("Japanese", "languages"),
    "lmarena_korean": _arena("Korean", "languages"),
    "lmarena_russian": _arena("Russian", "languages"),
    "lmarena_spanish": _arena("Spanish", "languages"),
    "lmarena_webdev": Scale("LMArena WebDev: web pages and applications", "coding", 600.0, 2200.0, rating=True),
    "aa_index_4_3": Scale("Artificial Analysis Intelligence Index, version 4.3", "general"),
    "aa_coding_index": Scale("Artificial Analysis Coding Index of September 2026", "coding"),
    "aa_lcr": Scale("Artificial Analysis: reasoning over long documents", "long_context"),
    "hle": Scale("Humanity's Last Exam", "knowledge"),
    "scicode": Scale("research code, as run by Artificial Analysis", "coding"),
    "livecodebench": Scale("programming contests, as run by Artificial Analysis", "coding"),
    "aime_2025": Scale("competition mathematics of 2025, as run by Artificial Analysis", "maths"),
    "ifbench": Scale("unusual instructions, as run by Artificial Analysis", "instructions"),
    "terminal_bench_hard": Scale("agents in a terminal, hard subset, as run by Artificial Analysis", "agents"),
    "terminal_bench_2_1": Scale("agents in a terminal, version 2.1, as run by Artificial Analysis", "agents"),
    "terminal_bench_4": Scale("agents in a terminal, version 4.0", "agents"),
    "tau2_telecom": Scale("agents that talk to a customer, tau2-bench telecom", "agents"),
    "tau3_banking": Scale("agents that talk to a customer, tau3-bench banking", "agents"),
    "vals_index_2": Scale("Vals Index, version 2: work of professions", "general"),
    "vals_finance_agent_2": Scale("Vals Finance Agent, version 2, partial credit", "agents"),
    "deep_swe_1_1": Scale("DeepSWE 1.1 with mini-swe-agent", "agents"),
    "frontier_swe_2": Scale("FrontierSWE, version 2, mean of five", "agents"),
    "gdpval_aa_2": Scale("GDPval-AA, version 2: deliverables of 44 occupations", "agents", 0.0, 2500.0, rating=True),
    **_livebench("2026_01"),
    **_livebench("2026_06"),
    "openhands_swt_bench": Scale("OpenHands Index: tests that reproduce an issue", "agents"),
    "openhands_commit0": Scale("OpenHands Index: libraries from scratch", "agents"),
    "openhands_gaia": Scale("OpenHands Index: assistants with tools", "agents"),
    "aider_polyglot": Scale("Aider: exercises in six languages, two tries", "coding"),
    "factual_consistency": Scale("Vectara: summaries without invented facts (100 less the hallucination rate)", "chat"),
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
