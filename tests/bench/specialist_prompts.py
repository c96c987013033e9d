"""Prompts of eight tasks, each with a form and words of its own, for routers over specialist cards."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from router.learn.data import Prompt

_NAMES = ("Ana", "Boris", "Chloe", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Iris", "Jonas", "Kofi", "Lena")
_OBJECTS = ("mug", "scarf", "notebook", "lamp", "umbrella", "candle", "pencil", "basket", "clock", "vase")
_COLOURS = ("red", "teal", "purple", "orange", "silver", "yellow", "brown", "turquoise")
_WORDS = (
    "harbour",
    "velvet",
    "quartz",
    "meadow",
    "lantern",
    "cobalt",
    "juniper",
    "thimble",
    "orchid",
    "pebble",
    "saffron",
)
_CITIES = ("Porto", "Graz", "Bergen", "Lyon", "Gdynia", "Turku", "Leeds", "Bari")
_DISHES = ("lentil soup", "apple pie", "risotto", "fish tacos", "flatbread", "mushroom stew")
_LOANS = ("bicycle", "car", "kitchen", "boat", "piano", "roof")

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "alphabet": (
        "Put these words in alphabetical order: {word1}, {word2}, {word3}, {word4}.",
        "Arrange the list alphabetically. List: {word1} {word2} {word3} {word4}",
    ),
    "calendar": (
        "Today is {day} October {year}. Which date is {small} days from now, as MM/DD/YYYY?",
        "The meeting of {day} March {year} was moved by {small} weeks. What is its new date in MM/DD/YYYY?",
    ),
    "colours": (
        "On the shelf there is a {colour1} {object1}, a {colour2} {object2} and a {colour3} {object3}. "
        "What colour is the {object2}?",
        "The table holds a {colour1} {object1} next to a {colour2} {object2}. Is the {object1} {colour2}?",
    ),
    "liars": (
        "{name1} always tells the truth. {name2} says that {name1} lies. {name3} says that {name2} lies. "
        "Does {name3} tell the truth?",
        "{name1} says that {name2} tells the truth, {name2} says that {name3} lies, and {name3} lies. Who is honest?",
    ),
    "walking": (
        "Start facing north. Take {small} steps forward, turn left, take {day} steps, turn around and take {small} "
        "steps. Do you return to the starting point?",
        "Walk {day} steps east, turn right, walk {small} steps, turn right, walk {day} steps. Are you back?",
    ),
    "brackets": (
        "Close the sequence of brackets so that it is balanced: [ {{ ( < {word1} {word2} > ) [ (",
        "Complete the rest of this sequence of parentheses around {word1} and {word2}: ( [ ( {{ }} ) [ < >",
    ),
    "recipes": (
        "Scale my recipe for {dish} from {small} servings to {day}: which quantities of flour, butter and salt?",
        "I cook {dish} for {day} guests in {city}. Write a shopping list with grams and a time plan for the oven.",
    ),
    "loans": (
        "A loan of {year} euros for a {loan} at {small} percent interest runs for {day} months. What is the monthly "
        "instalment?",
        "{name1} repays {year} dollars borrowed for a {loan} in {day} equal payments at {small} percent. What is the "
        "total interest?",
    ),
}


def specialist_prompts(number: int, seed: int = 0) -> list[Prompt]:
    """`number` distinct prompts of each task."""
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    for task, templates in TEMPLATES.items():
        of_task: set[str] = set()
        while len(of_task) < number:
            of_task.add(str(rng.choice(templates)).format(**_drawn(rng)))
        found |= dict.fromkeys(sorted(of_task), task)
    return [Prompt(f"{task}-{position}", (text,), task) for position, (text, task) in enumerate(found.items())]


def _drawn(rng: np.random.Generator) -> dict[str, str]:
    several = {"word": _WORDS, "colour": _COLOURS, "object": _OBJECTS, "name": _NAMES}
    fields = {
        f"{field}{position}": str(value)
        for field, values in several.items()
        for position, value in enumerate(rng.permutation(values), start=1)
    }
    fields |= {
        field: str(rng.choice(values)) for field, values in (("city", _CITIES), ("dish", _DISHES), ("loan", _LOANS))
    }
    return {
        **fields,
        "day": str(rng.integers(10, 28)),
        "small": str(rng.integers(2, 9)),
        "year": str(rng.integers(1990, 2030)),
    }
