"""Whether the same ask gets the same card however it is worded: `python -m bench.paraphrases SET…`.

SET is a folder with `prompts.jsonl[.gz]`, such as `data/everyday`. Each prompt is asked again

- wordy: with a polite beginning and end that add nothing to the task,
- stem: without its answer options, where it has some,
- names: with other first names, where it has some.

These wordings are other ones than those of `route train --reword` (`router.learn.training.rewording`). For each kind
the table has the share of prompts that get the same card under a policy; the same where the two best forecasts are more
than .02 apart, so that a choice matters; and how far the forecasts of all cards move.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from router import Router, settings
from router.errors import PulvinarError
from router.learn.data.prompts import read_prompts
from router.types import Doubles
from router.wire.chat.request import ChatRequest

POLICIES = ("best", "default")
CLEAR_LEAD = 0.02
_MOST_PROMPTS = 500
_LEAST_STEM = 15

_FRAMES = (
    ("Good morning! I have been wondering about something and would be grateful for your help. ", ""),
    ("Hey, quick one for you if you have a minute: ", " Cheers!"),
    (
        "I am working on something at the moment and got a bit stuck, so here is what I need. ",
        " Many thanks in advance.",
    ),
    ("Hello assistant, please take your time with this request and read it carefully.\n\n", "\n\nThat would be great."),
    ("", "\n\nI would really appreciate it, thank you so much for taking the time to look into it."),
    ("Sorry to bother you again, but there is one more thing I wanted to ask you about. ", ""),
)
_OPTION = re.compile(r"\n[ \t]*\(?[A-J1-9][.):][ \t]*[^\n]*")
_NAMES = [
    "Alice",
    "Anna",
    "Ben",
    "Bob",
    "Carlos",
    "Charlie",
    "Chris",
    "Dan",
    "David",
    "Elena",
    "Emma",
    "Eric",
    "Frank",
    "George",
    "Helen",
    "Jack",
    "James",
    "Jane",
    "Jim",
    "Joe",
    "John",
    "Julia",
    "Karen",
    "Kate",
    "Kevin",
    "Laura",
    "Lisa",
    "Lucy",
    "Maria",
    "Mark",
    "Mary",
    "Mike",
    "Nina",
    "Olivia",
    "Paul",
    "Peter",
    "Rachel",
    "Sam",
    "Sarah",
    "Susan",
    "Tim",
    "Tom",
]
_OTHERS = [
    "Agatha",
    "Ivo",
    "Bettina",
    "Casper",
    "Delia",
    "Edgar",
    "Flora",
    "Gideon",
    "Hazel",
    "Ignatius",
    "Judith",
    "Konrad",
    "Lorna",
    "Magnus",
    "Nadia",
    "Otto",
    "Petra",
    "Quentin",
    "Rosa",
    "Stefan",
    "Tilda",
    "Ulrich",
    "Vera",
    "Walter",
    "Yvonne",
]
_NAME = re.compile(rf"\b({'|'.join(_NAMES)})\b")


class Agreement(Struct, frozen=True):
    """Of one kind of wording: the number of prompts; by policy the share that get the same card, and the share of those
    where the lead of the best card is clear; the mean and the 90th percentile of the change of a forecast.
    """

    prompts: int
    same: dict[str, float]
    clear: int
    same_where_clear: dict[str, float]
    mean_change: float
    change_90: float


def wordy(text: str, number: int) -> str | None:
    """The ask in a polite frame."""
    before, after = _FRAMES[number % len(_FRAMES)]
    return f"{before}{text.strip()}{after}"


def stem(text: str, number: int) -> str | None:
    """The ask without its answer options; None where it has none."""
    options = _OPTION.findall(text)
    found = _OPTION.sub("", text).strip()
    return found if len(options) >= 2 and len(found) >= _LEAST_STEM else None


def renamed(text: str, number: int) -> str | None:
    """The ask with other first names, each the same wherever it stands; None where it has none."""
    names = list(dict.fromkeys(_NAME.findall(text)))
    new = {name: _OTHERS[(number + place) % len(_OTHERS)] for place, name in enumerate(names)}
    return _NAME.sub(lambda match: new[match[0]], text) if names else None


KINDS: dict[str, Callable[[str, int], str | None]] = {"wordy": wordy, "stem": stem, "names": renamed}


def measure(router: Router, texts: Sequence[str]) -> dict[str, Agreement]:
    """The agreement on these prompts, by kind."""
    asked = [(number, text, _routed(router, text)) for number, text in enumerate(texts)]
    found = {}
    for kind, reword in KINDS.items():
        pairs = [(own, _routed(router, other)) for number, text, own in asked if (other := reword(text, number))]
        if pairs:
            found[kind] = _agreement(pairs)
    return found


class _Routed(Struct, frozen=True, eq=False):
    cards: tuple[str, ...]
    quality: Doubles


def _routed(router: Router, text: str) -> _Routed:
    results = [router.route(ChatRequest.from_prompt(text), policy=policy) for policy in POLICIES]
    return _Routed(tuple(result.decision.card for result in results), results[0].forecast.quality)


def _agreement(pairs: Sequence[tuple[_Routed, _Routed]]) -> Agreement:
    best = np.sort([own.quality for own, _ in pairs], axis=1)
    clear = best[:, -1] - best[:, -2] > CLEAR_LEAD
    same = np.array(
        [[left == right for left, right in zip(own.cards, other.cards, strict=True)] for own, other in pairs]
    )
    change = np.abs([own.quality - other.quality for own, other in pairs])

    def shares(rows: np.ndarray) -> dict[str, float]:
        return {
            name: round(float(column.mean()), 3) for name, column in zip(POLICIES, rows.T, strict=True) if len(rows)
        }

    return Agreement(
        prompts=len(pairs),
        same=shares(same),
        clear=int(clear.sum()),
        same_where_clear=shares(same[clear]),
        mean_change=round(float(change.mean()), 4),
        change_90=round(float(np.quantile(change, 0.9)), 4),
    )


def main() -> None:
    """Measure each set and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+", help="folders with prompts.jsonl[.gz]")
    parser.add_argument("--artifact", type=Path, default=settings.default_artifact_folder())
    parser.add_argument("--cards", type=Path, default=settings.shipped_cards_folder())
    parser.add_argument("--prompts", type=int, default=_MOST_PROMPTS, help="prompts of each set, evenly spread")
    arguments = parser.parse_args()
    router = Router.default(cards=arguments.cards, artifact=arguments.artifact)
    print("| set | wording | prompts | " + " | ".join(f"same card, {name}" for name in POLICIES), end=" | ")
    print("clear | " + " | ".join(f"same where clear, {name}" for name in POLICIES) + " | change, mean | 90 % |")
    print("|---|---|" + "---:|" * (4 + 2 * len(POLICIES)))
    for folder in arguments.sets:
        file = next(file for file in (folder / "prompts.jsonl", folder / "prompts.jsonl.gz") if file.exists())
        texts = [prompt.turns[0] for prompt in read_prompts(file) if len(prompt.turns) == 1]
        rows = np.linspace(0, len(texts) - 1, min(arguments.prompts, len(texts))).astype(int)
        for kind, found in measure(router, [texts[row] for row in rows]).items():
            same = [f"{found.same[name]:.3f}" for name in POLICIES]
            where_clear = [f"{found.same_where_clear.get(name, float('nan')):.3f}" for name in POLICIES]
            cells = [folder.name, kind, f"{found.prompts}", *same, f"{found.clear}", *where_clear]
            print("| " + " | ".join([*cells, f"{found.mean_change:.4f}", f"{found.change_90:.4f}"]) + " |")


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.paraphrases: {error}") from None
