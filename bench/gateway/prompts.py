"""What is asked: prompts that no cache has seen."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from bench.decision import texts
from router.learn.data import read_prompts

_SENTENCES = Path(__file__).parents[1] / "sentences.tsv"
_WORDS = 55
_OTHERS_IN = 10


def write_prompts(file: Path, count: int, source: Path | None = None) -> None:
    """Write `count` prompts as JSON strings, one a line.

    From `source`, the prompts.jsonl of a routing data set, as often as needed; else a question, one in ten of them in
    another language than English, and a piece of a docstring: about 100 tokens, no two alike.
    """
    prompts = _made(count) if source is None else _read(source, count)
    file.write_text("".join(f"{json.dumps(each)}\n" for each in prompts), encoding="utf-8")


def _made(count: int) -> list[str]:
    lines = _SENTENCES.read_text(encoding="utf-8").splitlines()
    said = [(language, text) for language, *pair in (line.split("\t") for line in lines) for text in pair]
    english = itertools.cycle([text for language, text in said if language == "en"])
    others = itertools.cycle([text for language, text in said if language != "en"])
    questions = (next(others) if number % _OTHERS_IN == 0 else next(english) for number in itertools.count())
    # Classes inherit docstrings, so a few come out alike.
    pieces = texts(count + count // 20 + 20, _WORDS)
    made = dict.fromkeys(f"{question}\n\n{piece}" for question, piece in zip(questions, pieces, strict=False))
    return list(itertools.islice(made, count))


def _read(source: Path, count: int) -> list[str]:
    found = [" ".join(prompt.turns) for prompt in read_prompts(source)]
    return list(itertools.islice(itertools.cycle(found), count))
