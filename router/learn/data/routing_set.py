"""The routing data set: prompts, and what each model scored on them.

A folder with `prompts.jsonl[.gz]` (`prompt_id`, `prompt` or `messages`, `domain`), `scores.csv[.gz]` (rows
prompts, columns models, values in [0, 1], empty where not run) and optionally, of the same shape, `cost_usd`,
`output_tokens` (or `completion_tokens`, or `out_chars`, of which four count as a token). `meta.json` gives
name and licence; where its `score_type` begins with a range such as `1..10`, scores are divided by the upper
end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from router.errors import CallerError, ConfigurationError, FileError, did_you_mean
from router.formats.json import encodable
from router.learn.data.prompts import Prompt, read_prompts
from router.learn.data.score_table import read_aligned_table, read_table
from router.learn.data.text_file import decode_json, optional_file, read_text, required_file, sha256_of
from router.types import Floats, Indices

ASSUMED_OUTPUT_TOKENS = 256
"""Length of an answer in tokens where a data set records no lengths."""

_TOKENS_PER_UNIT = {"output_tokens": 1.0, "completion_tokens": 1.0, "out_chars": 0.25}
_SCORE_RANGE = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\.\.(\d{1,6}(?:\.\d{1,6})?)")


class RoutingSet(Struct, frozen=True, eq=False):
    """Prompts and outcomes. `scores`, `cost_usd`, `output_tokens` are float32 `(prompts, models)`, NaN where
    unknown.
    """

    name: str
    license: str
    sha256: str
    prompts: tuple[Prompt, ...]
    models: tuple[str, ...]
    scores: Floats
    cost_usd: Floats | None = None
    output_tokens: Floats | None = None

    @property
    def domains(self) -> tuple[str, ...]:
        """The domain of each prompt."""
        return tuple(prompt.domain for prompt in self.prompts)

    def rows(self, index: Indices) -> RoutingSet:
        """The set restricted to these rows."""
        return msgspec.structs.replace(
            self,
            prompts=tuple(self.prompts[int(row)] for row in index),
            scores=self.scores[index],
            cost_usd=None if self.cost_usd is None else self.cost_usd[index],
            output_tokens=None if self.output_tokens is None else self.output_tokens[index],
        )

    def columns(self, models: Sequence[str]) -> RoutingSet:
        """The set restricted to these models, in this order."""
        columns = [self.models.index(model) for model in models]
        return msgspec.structs.replace(
            self,
            models=tuple(models),
            scores=self.scores[:, columns],
            cost_usd=None if self.cost_usd is None else self.cost_usd[:, columns],
            output_tokens=None if self.output_tokens is None else self.output_tokens[:, columns],
        )


class _ModelNames(Struct):
    aliases: list[str]


def load_set(folder: Path, aliases: Mapping[str, str] | None = None) -> RoutingSet:
    """Read a data set; `aliases` maps column names to the names to use instead.

    Raises FileError naming file, line and column for ids that do not match, values outside [0, 1], text where
    a number should be.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"the data set {folder} is not a folder")
    prompts_file, scores_file = required_file(folder, "prompts.jsonl"), required_file(folder, "scores.csv")
    meta = _read_meta(folder)
    prompts = read_prompts(prompts_file)
    score_range = _score_range(meta, folder)
    columns, scores = read_table(scores_file, prompts, score_range)
    scores /= np.float32(score_range[1])
    cost_file = optional_file(folder, "cost_usd.csv")
    data = RoutingSet(
        name=encodable(str(meta.get("name", folder.name))),
        license=encodable(str(meta.get("licence", meta.get("license", "not stated")))),
        sha256=sha256_of(prompts_file, scores_file),
        prompts=prompts,
        models=tuple((aliases or {}).get(column, column) for column in columns),
        scores=scores,
        cost_usd=None if cost_file is None else read_aligned_table(cost_file, prompts, columns),
        output_tokens=_read_output_tokens(folder, prompts, columns),
    )
    return _merge_equal_names(data)


def read_aliases(file: Path) -> dict[str, str]:
    """`{"name": {"aliases": [...]}}` as a mapping from every alias to its name. Raises FileError."""
    try:
        document = msgspec.json.decode(read_text(file), type=dict[str, _ModelNames])
    except msgspec.DecodeError as error:
        expected = 'expected {"name": {"aliases": ["other name", …]}, …}'
        raise FileError(str(file), None, f"{expected}: {error}") from None
    names: dict[str, str] = {}
    for name, entry in document.items():
        for alias in (name, *entry.aliases):
            if names.setdefault(alias, name) != name:
                raise FileError(str(file), None, f'"{alias}" names both {names[alias]} and {name}')
    return names


def read_ids(file: Path) -> tuple[str, ...]:
    """Read a file with one prompt id a line. Raises FileError."""
    ids = tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    if not ids:
        raise FileError(str(file), None, "contains no prompt ids")
    return ids


def restrict(sets: Sequence[RoutingSet], ids: Iterable[str], origin: str) -> tuple[RoutingSet, ...]:
    """The rows of the sets whose prompt id is listed; sets without such rows are left out.

    `origin` names the list. Raises CallerError for an id that no set has.
    """
    wanted = set(ids)
    known = {prompt.id for data in sets for prompt in data.prompts}
    if missing := sorted(wanted - known):
        names = ", ".join(data.name for data in sets)
        hint = did_you_mean(missing[0], sorted(known)[:2000])
        raise CallerError(f'{origin}: {len(missing)} ids are in none of {names}, for example "{missing[0]}"{hint}')
    restricted = (
        data.rows(np.array([row for row, prompt in enumerate(data.prompts) if prompt.id in wanted], dtype=np.intp))
        for data in sets
    )
    return tuple(data for data in restricted if data.prompts)


def join(sets: Sequence[RoutingSet]) -> RoutingSet:
    """One set of all rows; models with the same name share a column."""
    if len(sets) == 1:
        return sets[0]
    models = tuple(dict.fromkeys(model for data in sets for model in data.models))

    def stacked(table_of: Callable[[RoutingSet], Floats | None]) -> Floats:
        blocks = []
        for data in sets:
            block = np.full((len(data.prompts), len(models)), np.nan, dtype=np.float32)
            table = table_of(data)
            if table is not None:
                block[:, [models.index(model) for model in data.models]] = table
            blocks.append(block)
        return np.vstack(blocks)

    return RoutingSet(
        name="+".join(data.name for data in sets),
        license=", ".join(dict.fromkeys(data.license for data in sets)),
        sha256=hashlib.sha256("".join(data.sha256 for data in sets).encode()).hexdigest(),
        prompts=tuple(
            msgspec.structs.replace(prompt, id=f"{data.name}/{prompt.id}") for data in sets for prompt in data.prompts
        ),
        models=models,
        scores=stacked(lambda data: data.scores),
        cost_usd=stacked(lambda data: data.cost_usd),
        output_tokens=stacked(lambda data: data.output_tokens),
    )


def _read_meta(folder: Path) -> dict[str, Any]:
    file = folder / "meta.json"
    if not file.exists():
        return {}
    meta = decode_json(read_text(file), file, None)
    if not isinstance(meta, dict):
        raise FileError(str(file), 1, "expected an object")
    return meta


def _score_range(meta: Mapping[str, Any], folder: Path) -> tuple[float, float]:
    """The least and the greatest score, as `score_type` states them, else 0 and 1."""
    stated = _SCORE_RANGE.match(str(meta.get("score_type", "")))
    if stated is None:
        return 0.0, 1.0
    greatest = float(stated[2])
    if greatest <= 0:
        raise FileError(str(folder / "meta.json"), None, f"score_type: the range ends at {greatest:g}")
    return float(stated[1]), greatest


def _read_output_tokens(folder: Path, prompts: Sequence[Prompt], columns: Sequence[str]) -> Floats | None:
    for name, tokens_per_unit in _TOKENS_PER_UNIT.items():
        if (file := optional_file(folder, f"{name}.csv")) is not None:
            return read_aligned_table(file, prompts, columns) * np.float32(tokens_per_unit)
    return None


def _merge_equal_names(data: RoutingSet) -> RoutingSet:
    """Average the columns that aliases gave the same name, such as two runs of one model."""
    models = tuple(dict.fromkeys(data.models))
    if len(models) == len(data.models):
        return data

    def merged(table: Floats) -> Floats:
        columns = [table[:, [name == model for name in data.models]] for model in models]
        return np.column_stack([_mean_of_known(column) for column in columns])

    return msgspec.structs.replace(
        data,
        models=models,
        scores=merged(data.scores),
        cost_usd=None if data.cost_usd is None else merged(data.cost_usd),
        output_tokens=None if data.output_tokens is None else merged(data.output_tokens),
    )


def _mean_of_known(columns: Floats) -> Floats:
    known = ~np.isnan(columns)
    count = known.sum(axis=1)
    total = np.where(known, columns, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
