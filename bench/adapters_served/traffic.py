"""Which requests are sent, in which order, and whose answer each must get."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

from msgspec import Struct

from bench.composite.adapter_tasks import TASKS, fresh, trained
from bench.composite.servers import BASE

EXAMPLES = 5
AUTO = "auto/best"
"""The model that lets the router choose."""
_ABOUT = ("tides", "the moon", "bread", "bicycles", "volcanoes", "chess", "honey", "glass", "snow", "trees")
_GENERAL = ("Explain {} to a child.", "Write a short poem about {}.", "Why do people like {}?")


class Ask(Struct, frozen=True):
    """One request: the `model` that it names, and the card that must answer."""

    model: str
    card: str
    prompt: str


class Prompts(Struct, frozen=True):
    """Prompts for the base, and for each adapter some of its task, with the right answers."""

    general: tuple[str, ...]
    tasks: Mapping[str, tuple[tuple[str, str], ...]]


def examples() -> dict[str, list[str]]:
    """What the card of each adapter states: prompts that it was trained on."""
    return {
        name: [prompt for prompt, _ in itertools.islice(trained(name, random.Random(f"examples {name}")), EXAMPLES)]
        for name in TASKS
    }


def prompts(of_task: int) -> Prompts:
    """`of_task` prompts of each adapter that it was not trained on."""
    general = tuple(text.format(about) for text in _GENERAL for about in _ABOUT)
    made = {name: _different(name, of_task) for name in TASKS}
    return Prompts(general, made)


def _different(name: str, count: int) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for prompt, answer in fresh(name, random.Random(f"served {name}")):
        found[prompt] = answer
        if len(found) == count:
            break
    return tuple(found.items())


def requests(made: Prompts, count: int) -> list[Ask]:
    """In random order. Of a hundred, 35 name an adapter and 35 leave its choice to the router; 20 name the base, half
    of them with a prompt that adapters read too; 10 are general ones that the router must give to the base.
    """
    rng = random.Random("requests")
    kinds = ["named"] * 35 + ["auto"] * 35 + ["base"] * 10 + ["base, a task"] * 10 + ["general"] * 10
    order = [kind for _ in range(count // len(kinds) + 1) for kind in rng.sample(kinds, len(kinds))]
    names = [name for _ in range(count // len(TASKS) + 1) for name in rng.sample(list(TASKS), len(TASKS))]
    return [_ask(kind, name, made, rng) for kind, name in zip(order[:count], names, strict=False)]


def _ask(kind: str, name: str, made: Prompts, rng: random.Random) -> Ask:
    of_task, general = rng.choice(made.tasks[name])[0], rng.choice(made.general)
    return {
        "named": Ask(name, name, of_task),
        "auto": Ask(AUTO, name, of_task),
        "base": Ask(BASE, BASE, general),
        "base, a task": Ask(BASE, BASE, of_task),
        "general": Ask(AUTO, BASE, general),
    }[kind]
