"""A routing set with the models' answers: what was answered, how the text looked, and what the call cost.

Beside the files of a routing set: `answers.csv[.gz]` (the final answer of each model as text, empty where none could
be read), optional tables of signals of the same shape (`out_chars`, `extractable`, `hedges`, `lines`, `digits`,
`logprob_*`), and `prices.json`: USD per million tokens of each model, and `pools`, lists of models to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from router.errors import FileError
from router.learn.data.prompts import Prompt
from router.learn.data.routing_set import ASSUMED_OUTPUT_TOKENS, RoutingSet, load_set
from router.learn.data.score_table import read_aligned_table, read_texts
from router.learn.data.text_file import optional_file, read_text, required_file
from router.types import Doubles, Indices

NO_ANSWER = -1
SIGNALS = ("extractable", "out_chars", "hedges", "lines", "digits")
"""The tables of text signals, in the order in which they are read; a set need not have all of them."""
_CHARS_PER_TOKEN = 4


class AnswerSet(Struct, frozen=True, eq=False):
    """Outcomes and answers, for the prompts that every model answered.

    `answers` are integers `(prompts, models)`: equal numbers in a row are the same answer, `NO_ANSWER` none. `scores`
    and `cost_usd` are float64 `(prompts, models)`; `signals` float64 `(prompts, models, signals)`, whose columns have
    the names `signal_names`, `extractable` among them. `pools` are lists of columns, by name.
    """

    name: str
    prompts: tuple[Prompt, ...]
    models: tuple[str, ...]
    scores: Doubles
    answers: Indices
    cost_usd: Doubles
    signals: Doubles
    signal_names: tuple[str, ...]
    pools: Mapping[str, tuple[int, ...]]

    @property
    def domains(self) -> tuple[str, ...]:
        """The domain of each prompt."""
        return tuple(prompt.domain for prompt in self.prompts)


class _Price(Struct):
    """USD per million tokens."""

    input: float
    output: float


class _Prices(Struct):
    prices: dict[str, _Price]
    pools: dict[str, list[str]]


def load_answers(folder: Path) -> AnswerSet:
    """Read the set in `folder`, restricted to the models that have a price. Raises FileError."""
    data = load_set(folder)
    prices = _read_prices(required_file(folder, "prices.json"), data)
    models = tuple(model for model in data.models if model in prices.prices)
    data = data.columns(models)
    answers = _coded(read_texts(required_file(folder, "answers.csv"), data.prompts, models))
    tables = {}
    for name in (*SIGNALS, *sorted(_logprob_tables(folder))):
        file = optional_file(folder, f"{name}.csv")
        if file is not None:
            tables[name] = read_aligned_table(file, data.prompts, models).astype(np.float64)
    tables.setdefault("extractable", (answers != NO_ANSWER).astype(np.float64))
    known = np.isfinite(data.scores).all(axis=1)
    for table in tables.values():
        known &= np.isfinite(table).all(axis=1)
    rows = np.flatnonzero(known)
    if not len(rows):
        raise FileError(str(folder), None, "no prompt was answered by all models that have a price")
    prompts = tuple(data.prompts[int(row)] for row in rows)
    return AnswerSet(
        name=data.name,
        prompts=prompts,
        models=models,
        scores=data.scores[rows].astype(np.float64),
        answers=answers[rows],
        cost_usd=_costs(data.rows(rows), prices.prices),
        signals=np.stack([table[rows] for table in tables.values()], axis=2),
        signal_names=tuple(tables),
        pools={name: tuple(models.index(model) for model in pool) for name, pool in prices.pools.items()},
    )


def _read_prices(file: Path, data: RoutingSet) -> _Prices:
    try:
        prices = msgspec.json.decode(read_text(file), type=_Prices)
    except msgspec.MsgspecError as error:
        raise FileError(str(file), None, str(error)) from None
    for name, pool in prices.pools.items():
        for model in pool:
            if model not in data.models:
                raise FileError(str(file), None, f'pools.{name}: "{model}" is not a column of scores.csv')
            if model not in prices.prices:
                raise FileError(str(file), None, f'pools.{name}: "{model}" has no price')
    return prices


def _logprob_tables(folder: Path) -> set[str]:
    return {file.name.split(".")[0] for file in folder.glob("logprob_*.csv*")}


def _coded(texts: list[list[str]]) -> Indices:
    codes = np.full((len(texts), len(texts[0])), NO_ANSWER, dtype=np.intp)
    for row, answers in enumerate(texts):
        code_of: dict[str, int] = {}
        for column, answer in enumerate(answers):
            if answer:
                codes[row, column] = code_of.setdefault(answer.casefold(), len(code_of))
    return codes


def _costs(data: RoutingSet, prices: Mapping[str, _Price]) -> Doubles:
    """The cost of each call in USD. Where lengths are unknown they are equal for all, so that only prices differ."""
    in_tokens = np.array([sum(map(len, prompt.turns)) for prompt in data.prompts]) / _CHARS_PER_TOKEN
    known = np.full(data.scores.shape, np.nan) if data.output_tokens is None else data.output_tokens
    out_tokens = np.where(np.isfinite(known), known, ASSUMED_OUTPUT_TOKENS)
    per_input = np.array([prices[model].input for model in data.models])
    per_output = np.array([prices[model].output for model in data.models])
    return np.asarray((in_tokens[:, None] * per_input + out_tokens * per_output) / 1e6)
