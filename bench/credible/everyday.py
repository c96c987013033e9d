"""Everyday prompts with experts' labels, judged by `credibility.py` of the shared folder, next to the targets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from router.cards.catalog import load_catalog
from router.errors import ConfigurationError
from router.formats.yaml.file import read_yaml

_OWN_LADDERS = re.compile(r"lmarena_\w+|aa_index_4_3")


class Figure(Struct, frozen=True):
    """One figure: the way to it in the script's JSON, the target, and the value of release 0.1.0."""

    name: str
    path: tuple[str, ...]
    before: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        """The target in words; empty where there is none."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    def holds(self, value: float | None) -> bool | None:
        """Whether a value meets the target; None where there is no target or value."""
        if value is None or (self.at_least is None and self.at_most is None):
            return None
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)


_CHEAP, _TOP = "trivial_to_cheapest_third", "hard_to_top_5"
FIGURES = (
    Figure("pairs: easy above hard", ("pairs", "all_cards"), 0.587, at_least=0.9),
    Figure("Spearman of difficulty", ("spearman", "all_cards"), 0.129, at_least=0.6),
    Figure("AUC of small_ok", ("small_ok", "auc_small"), 0.486, at_least=0.85),
    Figure("frontier's lead, trivial", ("absolute", "lead_by_difficulty", "1"), 0.188, at_most=0.08),
    Figure("frontier's lead, easy", ("absolute", "lead_by_difficulty", "2"), 0.17),
    Figure("frontier's lead, medium", ("absolute", "lead_by_difficulty", "3"), 0.159),
    Figure("frontier's lead, hard", ("absolute", "lead_by_difficulty", "4"), 0.174),
    Figure("frontier's lead, expert", ("absolute", "lead_by_difficulty", "5"), 0.156, at_least=0.3),
    Figure("small ≥ .85 on trivial", ("absolute", "trivial_small_mean_085"), 0.0, at_least=0.9),
    Figure("ladder order", ("ladder", "same_order", "all"), 0.691, at_least=0.95),
    Figure("default: trivial to cheapest third", ("decisions", "default", _CHEAP), 0.765, at_least=0.85),
    Figure("default: hard to top 5", ("decisions", "default", _TOP), 0.0, at_least=0.6),
    Figure("best: trivial to cheapest third", ("decisions", "best", _CHEAP), 0.029),
    Figure("best: hard to top 5", ("decisions", "best", _TOP), 0.156, at_least=0.9),
    Figure("cheap: trivial to cheapest third", ("decisions", "cheap", _CHEAP), 0.941, at_least=0.95),
    Figure("cheap: hard to top 5", ("decisions", "cheap", _TOP), 0.0),
)
"""Targets of the release, and what `credibility.py` printed for release 0.1.0 on `dev.jsonl` and its catalogue."""


def judge(shared: Path, cards: Path, artifact: Path) -> dict[str, float | None]:
    """The figures by name, from a run of the script. Raises ConfigurationError where it fails."""
    script = shared / "everyday" / "credibility.py"
    command = [sys.executable, str(script), "--json", "--cards", str(cards), "--artifact", str(artifact)]
    # The product that runs this benchmark, wherever the script is.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ConfigurationError(f"{script} failed: {done.stderr.strip().splitlines()[-1:]}")
    result = json.loads(done.stdout)
    return {figure.name: _at(result, figure.path) for figure in FIGURES}


def write_without_ladders(cards: Path, folder: Path) -> None:
    """Write the cards without the facts by which the ladder order is judged: LMArena's ratings and the AA index."""
    for file in sorted(cards.glob("*.yaml")):
        card = read_yaml(file)[0]
        for facts in (card, *card.get("efforts", {}).values()):
            own = facts.get("benchmarks", {})
            facts["benchmarks"] = {name: value for name, value in own.items() if not _OWN_LADDERS.fullmatch(name)}
        (folder / file.name).write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")
    load_catalog(folder)


def _at(result: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = result
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value)
