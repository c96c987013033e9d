"""How often a prompt with one task is split, on sets whose prompts are single tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from router.compose.split import split_prompt
from router.learn.data.prompts import read_prompts

MOST_PROMPTS = 4000
"""Prompts taken of a set, evenly spaced."""


class FalseSplits(Struct, frozen=True):
    """The prompts of a set that were looked at, the ids of those that were split, and the share."""

    data_set: str
    prompts: int
    split: tuple[str, ...]
    rate: float


def measure(folder: Path, names: Sequence[str] = ()) -> list[FalseSplits]:
    """Split the newest turn of the prompts of the sets in `folder`, or of those named."""
    found = sorted(path.parent.name for path in folder.glob("*/prompts.jsonl.gz"))
    return [_of_set(folder / name) for name in names or found]


def _of_set(folder: Path) -> FalseSplits:
    prompts = read_prompts(folder / "prompts.jsonl.gz")
    taken = prompts[:: max(1, len(prompts) // MOST_PROMPTS)]
    split = tuple(prompt.id for prompt in taken if len(split_prompt(prompt.turns[-1])) > 1)
    return FalseSplits(folder.name, len(taken), split, round(len(split) / len(taken), 5))
