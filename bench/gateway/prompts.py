"""The prompts of the benchmark: distinct, so that no cache has a response."""

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

    They come from `source`, the prompts.jsonl of a routing data set, repeated as needed. Without it every prompt is a
    question (one in ten not in English) and a part of a docstring: about 100 tokens, all distinct.
    """
    prompts = _generated(count) if source is None else _read(source, count)
    file.write_text("".join(f"{json.dumps(prompt)}\n" for prompt in prompts), encoding="utf-8")


def _generated(count: int) -> list[str]:
    lines = _SENTENCES.read_text(encoding="utf-8").splitlines()
    sentences = [(language, text) for language, *pair in (line.split("\t") for line in lines) for text in pair]
    english = itertools.cycle([text for language, text in sentences if language == "en"])
    others = itertools.cycle([text for language, text in sentences if language != "en"])
    questions = (next(others) if number % _OTHERS_IN == 0 else next(english) for number in itertools.count())
    # Classes inherit docstrings, so a few come out alike.
    pieces = texts(count + count // 20 + 20, _WORDS)
    made = dict.fromkeys(f"{question}\n\n{piece}" for question, piece in zip(questions, pieces, strict=False))
    return list(itertools.islice(made, count))


def _read(source: Path, count: int) -> list[str]:
    prompts = [" ".join(prompt.turns) for prompt in read_prompts(source)]
    return list(itertools.islice(itertools.cycle(prompts), count))
