"""A routing set with the models' answers: what was answered, how the text looked, and what the call cost.

Beside the files of a routing set: `answers.csv[.gz]` (the final answer of each model as text, empty where none could
be read), optional tables of signals of the same shape (`out_chars`, `extractable`, `hedges`, `lines`, `digits`,
`logprob_*`), and `prices.json`: USD per million tokens of each model, and `pools`, lists of models to choose from.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from router.compose.answers import Answer, read_answer
from router.errors import FileError, did_you_mean
from router.learn.data.prompts import Prompt
from router.learn.data.routing_set import ASSUMED_OUTPUT_TOKENS, RoutingSet, load_set
from router.learn.data.score_table import read_aligned_table, read_header, read_texts
from router.learn.data.text_file import optional_file, read_text, required_file
from router.types import Doubles, Indices

NO_ANSWER = -1
SIGNALS = ("extractable", "out_chars", "hedges", "lines", "digits")
"""The tables of text signals, in the order in which they are read; a set need not have all of them."""
CHARS_PER_TOKEN = 4
_MOST = 1e12


class AnswerSet(Struct, frozen=True, eq=False):
    """Outcomes and answers, for the prompts that every model answered.

    `answers` are integers `(prompts, models)`: equal numbers in a row are the same answer, `NO_ANSWER` none. `scores`
    and `cost_usd` are float64 `(prompts, models)`; `signals` float64 `(prompts, models, signals)`, whose columns have
    the names `signal_names`, `extractable` among them. `kinds` `(prompts,)` are the kinds of the answers, by
    `read_answer`. `pools` are lists of columns, by name.
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
    kinds: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """The domain of each prompt."""
        return tuple(prompt.domain for prompt in self.prompts)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The models that have no answer to any prompt."""
        without = (self.answers == NO_ANSWER).all(axis=0)
        return tuple(model for model, none in zip(self.models, without, strict=True) if none)

    @property
    def outcomes(self) -> RoutingSet:
        """The prompts and scores as a routing set."""
        return RoutingSet(self.name, "", "", self.prompts, self.models, self.scores.astype(np.float32))


_Usd = Annotated[float, msgspec.Meta(ge=0)]


class _Price(Struct):
    """USD per million tokens."""

    input: _Usd
    output: _Usd


class _StatedPrices(Struct):
    prices: dict[str, msgspec.Raw]
    pools: dict[str, list[str]] = {}


class _Prices(NamedTuple):
    prices: Mapping[str, _Price]
    pools: Mapping[str, Sequence[str]]


def has_answers(folder: Path) -> bool:
    """Whether the set in `folder` has the answers of its models."""
    return optional_file(folder, "answers.csv") is not None


def load_answers(
    folder: Path,
    *,
    priced: bool = True,
    aliases: Mapping[str, str] | None = None,
    ids: Collection[str] | None = None,
) -> AnswerSet:
    """Read the set in `folder`, restricted to the models of its pools, or to all that have a price if there are none.

    Without `priced`, `prices.json` may be missing: all models are then taken, and calls cost nothing. Prompts are left
    out that one of these models was not run on, and those that `ids` does not list. `aliases` maps names of columns to
    the names to use instead; of columns that get one name the first is taken. Raises FileError.
    """
    data = load_set(folder)
    file = required_file(folder, "prices.json") if priced else optional_file(folder, "prices.json")
    answers_file = required_file(folder, "answers.csv")
    if file is None:
        models = tuple(model for model in read_header(answers_file) if model in data.models)
        prices = _Prices({model: _Price(0.0, 0.0) for model in models}, {})
    else:
        prices = _read_prices(file, data)
        wanted = {model for pool in prices.pools.values() for model in pool} or set(prices.prices)
        models = tuple(model for model in data.models if model in wanted)
    columns: dict[str, str] = {}
    for model in models:
        columns.setdefault((aliases or {}).get(model, model), model)
    models = tuple(columns.values())
    if len(models) < 2:
        raise FileError(str(folder), None, "needs the answers of at least two models that are in scores.csv")
    data = data.columns(models)
    rows = np.flatnonzero(np.isfinite(data.scores).all(axis=1))
    if not len(rows):
        fewest = models[int(np.isfinite(data.scores).sum(axis=0).argmin())]
        raise FileError(str(folder), None, f'no prompt has a score of every model; "{fewest}" has the fewest')
    if ids is not None:
        rows = np.array([row for row in rows.tolist() if data.prompts[row].id in ids], dtype=np.intp)
        if not len(rows):
            raise FileError(str(folder), None, "none of the listed prompts has a score of every model")
    texts = read_texts(answers_file, data.prompts, models)
    signals = _signals(folder, data, texts)
    coded, kinds = _coded([texts[int(row)] for row in rows])
    pools = {
        name: tuple(models.index(model) for model in pool if model in models) for name, pool in prices.pools.items()
    }
    return AnswerSet(
        name=data.name,
        prompts=tuple(data.prompts[int(row)] for row in rows),
        models=tuple(columns),
        scores=data.scores[rows].astype(np.float64),
        answers=coded,
        cost_usd=_costs(data.rows(rows), prices.prices),
        signals=np.stack([table[rows] for table in signals.values()], axis=2),
        signal_names=tuple(signals),
        pools=pools,
        kinds=kinds,
    )


def kind_of(answers: Sequence[str]) -> str:
    """The kind of most of the answers to a prompt, as `read_answer` names them; `text` where none can be read."""
    kinds = [read.kind if (read := _read(text)) is not None else "text" for text in answers if text]
    return max(sorted(set(kinds)), key=kinds.count, default="text")


@functools.lru_cache(maxsize=65_536)
def _read(text: str) -> Answer | None:
    return read_answer(text)


def _signals(folder: Path, data: RoutingSet, texts: Sequence[Sequence[str]]) -> dict[str, Doubles]:
    """The tables of signals, by name. Where a cell is empty, the model's mean stands in for it, so it shows nothing."""
    tables = {}
    for name in (*SIGNALS, *sorted(_logprob_tables(folder))):
        file = optional_file(folder, f"{name}.csv")
        if file is not None:
            tables[name] = read_aligned_table(file, data.prompts, data.models, _range_of(name)).astype(np.float64)
    answered = np.array([[bool(text) for text in row] for row in texts], dtype=np.float64)
    stated = tables.get("extractable", np.full(answered.shape, np.nan))
    tables["extractable"] = np.where(np.isnan(stated), answered, stated)
    for name, table in tables.items():
        known = np.isfinite(table)
        count = known.sum(axis=0)
        overall = table[known].mean() if known.any() else 0.0
        means = np.where(count > 0, np.where(known, table, 0.0).sum(axis=0) / np.maximum(count, 1), overall)
        tables[name] = np.where(known, table, means)
    return tables


def _read_prices(file: Path, data: RoutingSet) -> _Prices:
    try:
        stated = msgspec.json.decode(read_text(file), type=_StatedPrices)
    except msgspec.MsgspecError as error:
        raise FileError(str(file), None, str(error)) from None
    prices = _Prices({model: _read_price(file, model, price) for model, price in stated.prices.items()}, stated.pools)
    for name, pool in prices.pools.items():
        if not pool:
            raise FileError(str(file), None, f"pools.{name}: has no models")
        for model in pool:
            if model not in data.models:
                hint = did_you_mean(model, data.models)
                raise FileError(str(file), None, f'pools.{name}: "{model}" is not a column of scores.csv{hint}')
            if model not in prices.prices:
                raise FileError(
                    str(file), None, f'pools.{name}: "{model}" has no price{did_you_mean(model, prices.prices)}'
                )
            if pool.count(model) > 1:
                raise FileError(str(file), None, f'pools.{name}: "{model}" is listed twice')
    return prices


def _read_price(file: Path, model: str, price: msgspec.Raw) -> _Price:
    try:
        return msgspec.json.decode(price, type=_Price)
    except msgspec.MsgspecError as error:
        raise FileError(str(file), None, f'prices."{model}": {error}') from None


def _range_of(name: str) -> tuple[float, float]:
    return (-_MOST, 0.0) if name.startswith("logprob_") else (0.0, _MOST)


def _logprob_tables(folder: Path) -> set[str]:
    return {file.name.split(".")[0] for file in folder.glob("logprob_*.csv*")}


def _coded(texts: Sequence[Sequence[str]]) -> tuple[Indices, tuple[str, ...]]:
    """The answers as numbers, and the kind of each row: answers are equal where their values are, as at run time."""
    codes = np.full((len(texts), len(texts[0])), NO_ANSWER, dtype=np.intp)
    for row, answers in enumerate(texts):
        code_of: dict[Answer | str, int] = {}
        for column, answer in enumerate(answers):
            if answer:
                value = _read(answer) or " ".join(answer.casefold().split())
                codes[row, column] = code_of.setdefault(value, len(code_of))
    return codes, tuple(kind_of(answers) for answers in texts)


def _costs(data: RoutingSet, prices: Mapping[str, _Price]) -> Doubles:
    """The cost of each call in USD. Where lengths are unknown they are equal for all, so that only prices differ."""
    in_tokens = np.array([sum(map(len, prompt.turns)) for prompt in data.prompts]) / CHARS_PER_TOKEN
    known = np.full(data.scores.shape, np.nan) if data.output_tokens is None else data.output_tokens
    out_tokens = np.where(np.isfinite(known), known, ASSUMED_OUTPUT_TOKENS)
    per_input = np.array([prices[model].input for model in data.models])
    per_output = np.array([prices[model].output for model in data.models])
    return np.asarray((in_tokens[:, None] * per_input + out_tokens * per_output) / 1e6)
