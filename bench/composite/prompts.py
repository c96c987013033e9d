"""Composite prompts of known tasks, in several styles, from sets whose prompts have a target."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from router.learn.data.prompts import read_prompt_rows


class Task(Struct, frozen=True):
    """One task, its domain, and the right answer."""

    text: str
    domain: str
    target: str


class Composite(Struct, frozen=True):
    """A prompt and the tasks of which it is made, in order."""

    style: str
    text: str
    tasks: tuple[Task, ...]


def load_tasks(file: Path) -> dict[str, list[Task]]:
    """The tasks of a set by domain, in the order of the file."""
    found: dict[str, list[Task]] = {}
    for row in read_prompt_rows(file):
        task = Task(row.prompt.turns[-1], row.prompt.domain, str(row.fields.get("target", "")))
        found.setdefault(task.domain, []).append(task)
    return found


def _numbered(tasks: Sequence[Task], _: Sequence[Task]) -> str:
    listed = "\n".join(f"{number}. {task.text}" for number, task in enumerate(tasks, 1))
    return f"Answer the following questions:\n{listed}"


def _blocks(tasks: Sequence[Task], _: Sequence[Task]) -> str:
    return "\n".join(f"[INST] {task.text} [/INST]" for task in tasks)


def _labelled(tasks: Sequence[Task], _: Sequence[Task]) -> str:
    return "\n\n".join(f"Question {number}: {task.text}" for number, task in enumerate(tasks, 1))


def _ordinal(tasks: Sequence[Task], _: Sequence[Task]) -> str:
    words = ["First", *["Then"] * (len(tasks) - 2), "Finally"]
    return "\n\n".join(f"{word}, {task.text}" for word, task in zip(words, tasks, strict=True))


def _paragraphs(tasks: Sequence[Task], _: Sequence[Task]) -> str:
    return "\n\n".join(task.text for task in tasks)


def _with_examples(tasks: Sequence[Task], shots: Sequence[Task]) -> str:
    half = len(shots) // 2
    examples = []
    for number, part in enumerate((shots[:half], shots[half:]), 1):
        asked = " ".join(f"[INST] {task.text} [/INST]" for task in part)
        answered = "\n".join(f"{place}. {task.target}" for place, task in enumerate(part, 1))
        examples.append(f"Example {number}: {asked}\n{answered}")
    asked = " ".join(f"[INST] {task.text} [/INST]" for task in tasks)
    return "\n".join([*examples, f"Following the examples above, generate answers to the questions below: {asked}"])


def _with_chatter(tasks: Sequence[Task], _: Sequence[Task]) -> str:
    listed = "\n".join(f"{number}) {task.text}" for number, task in enumerate(tasks, 1))
    opening = "Hi, I hope you are well. Please help me with these questions:"
    return f"{opening}\n\n{listed}\n\nThanks a lot, each answer counts!"


STYLES: Mapping[str, Callable[[Sequence[Task], Sequence[Task]], str]] = {
    "numbered": _numbered,
    "blocks": _blocks,
    "labelled": _labelled,
    "first_then": _ordinal,
    "paragraphs": _paragraphs,
    "two_shot": _with_examples,
    "chatter": _with_chatter,
}


def composites(by_domain: Mapping[str, Sequence[Task]], style: str, size: int, count: int) -> list[Composite]:
    """`count` prompts of `size` tasks of different domains; the same for the same style and size."""
    rng = random.Random(f"{style} {size}")
    found = []
    for _ in range(count):
        domains = rng.sample(sorted(by_domain), size)
        tasks = tuple(rng.choice(by_domain[domain]) for domain in domains)
        shots = [rng.choice(by_domain[domain]) for domain in domains * 2]
        found.append(Composite(style, STYLES[style](tasks, shots), tasks))
    return found
