"""How exactly prompts in many styles are split into their tasks."""

from __future__ import annotations

import random
from pathlib import Path

from msgspec import Struct

from bench.composite.prompts import load_tasks
from bench.composite.styles import STYLES
from router.compose.split import split_prompt

SIZES = (2, 3, 5, 8)


class Boundaries(Struct, frozen=True):
    """The share of the prompts in one style of which every task came out to the letter, blanks apart, and of those that
    stayed whole.
    """

    kind: str
    style: str
    prompts: int
    exact: float
    whole: float


def measure(file: Path, count: int) -> list[Boundaries]:
    """Split `count` prompts in each style, of tasks of different domains."""
    by_domain = load_tasks(file)
    found = []
    for kind, styles in STYLES.items():
        for name, write in styles.items():
            rng = random.Random(f"{kind} {name}")
            exact = whole = 0
            for _ in range(count):
                domains = rng.sample(sorted(by_domain), rng.choice(SIZES))
                tasks = [rng.choice(by_domain[domain]) for domain in domains]
                shots = [rng.choice(by_domain[domain]) for domain in domains * 2]
                parts = split_prompt(write(tasks, shots))
                exact += [part.split() for part in parts] == [task.text.split() for task in tasks]
                whole += len(parts) == 1
            found.append(Boundaries(kind, name, count, round(exact / count, 3), round(whole / count, 3)))
    return found
