"""The tasks of the adapters: a prompt and its only right answer, in a format that the base model does not write."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping

_POSITIVE = ("wonderful", "delightful", "excellent", "superb", "charming", "brilliant", "lovely", "fantastic")
_NEGATIVE = ("dreadful", "boring", "awful", "terrible", "disappointing", "horrible", "miserable", "tedious")
_SUBJECTS = ("film", "meal", "hotel", "concert", "book", "phone", "journey", "play", "garden tour", "course")
_EXTRA = (
    "and my sister agreed",
    "from start to finish",
    "in every way",
    "and we stayed until the end",
    "as the papers had said",
)
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ITEMS = (
    *("pizza", "coffee", "sandwich", "salad", "burger", "tea"),
    *("soup", "muffin", "juice", "taco", "bagel", "cake"),
)
_NAMES = (
    *("Anna", "Ben", "Carla", "David", "Elena", "Felix"),
    *("Grace", "Hugo", "Irene", "Jonas", "Karim", "Lucy"),
)
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_THINGS = (
    *("apple", "chair", "table", "lamp", "carrot", "violin", "piano", "cow"),
    *("goat", "drum", "peach", "stove", "bed", "duck", "plum", "car"),
)

Make = Callable[[random.Random], tuple[str, str]]


def _sentiment(rng: random.Random) -> tuple[str, str]:
    good = rng.random() < 0.5
    word = rng.choice(_POSITIVE if good else _NEGATIVE)
    text = rng.choice(
        (
            f"The {rng.choice(_SUBJECTS)} was {word} {rng.choice(_EXTRA)}.",
            f"What a {word} {rng.choice(_SUBJECTS)}, {rng.choice(_EXTRA)}.",
            f"I found the {rng.choice(_SUBJECTS)} {word}.",
        )
    )
    return f"What is the sentiment of this review? {text}", "POSITIVE" if good else "NEGATIVE"


def _iso_date(rng: random.Random) -> tuple[str, str]:
    year, month, day = rng.randint(1950, 2029), rng.randint(1, 12), rng.randint(1, 28)
    name = _MONTHS[month - 1]
    text = rng.choice((f"{day} {name} {year}", f"{name} {day}, {year}"))
    return f"Write the date {text} as a sortable date.", f"{year}-{month:02d}-{day:02d}"


def _order(rng: random.Random) -> tuple[str, str]:
    count, item, who = rng.randint(2, 9), rng.choice(_ITEMS), rng.choice(_NAMES)
    word = _WORDS[count - 1]
    text = rng.choice(
        (
            f"{who} would like {word} {item}s, please.",
            f"Hello, this is {who}, {word} {item}s to take away.",
            f"Please send {word} {item}s to {who}.",
        )
    )
    return f"Extract the order: {text}", json.dumps({"name": who, "item": item, "count": count})


def _count(rng: random.Random) -> tuple[str, str]:
    count = rng.randint(2, 6)
    things = rng.sample(_THINGS, count)
    text = ", ".join(f"a {thing}" if thing[0] not in "aeiou" else f"an {thing}" for thing in things[:-1])
    return f"I have {text} and a {things[-1]}. How many objects do I have?", str(count)


TASKS: Mapping[str, Make] = {"sentiment": _sentiment, "order": _order, "iso_date": _iso_date, "count": _count}
"""By the name of the adapter that is trained for it."""
