"""The routing data set: prompts, and what each model scored on them.

A folder with `prompts.jsonl[.gz]` (`prompt_id`, `prompt` or `messages`, `domain`), `scores.csv[.gz]` (rows
prompts, columns models, values in [0, 1], empty where not run) and optionally, of the same shape, `cost_usd`,
`output_tokens` (or `completion_tokens`, or `out_chars`, of which four count as a token). `meta.json` gives
name and licence; where its `score_type` begins with a range such as `1..10`, scores are divided by the upper
end.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np
from msgspec import Struct

from router.errors import CallerError, ConfigurationError, FileError, did_you_mean
from router.formats.json import encodable
from router.types import Doubles, Floats, Indices
from router.wire.chat.request import ChatRequest

_LENGTHS = (("output_tokens", 1.0), ("completion_tokens", 1.0), ("out_chars", 0.25))
_RANGE = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\.\.(\d{1,6}(?:\.\d{1,6})?)")
_HUGE = 1e12
_READ_AT_ONCE = 1 << 20


class Prompt(Struct, frozen=True):
    """One prompt: its human turns, oldest first, and the domain it is from."""

    id: str
    turns: tuple[str, ...]
    domain: str = ""


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


class _ModelNames(Struct):
    aliases: list[str]


def read_prompts(file: Path) -> tuple[Prompt, ...]:
    """Every line of a `.jsonl` or `.jsonl.gz` file. Raises FileError naming the line."""
    prompts: list[Prompt] = []
    first_line: dict[str, int] = {}
    domains: dict[str, str] = {}
    with _reading(file, "\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            prompt = _prompt(line, file, number, domains)
            if prompt.id in first_line:
                raise FileError(
                    str(file),
                    number,
                    f'prompt_id "{prompt.id}" stands twice (first on line {first_line[prompt.id]})',
                )
            first_line[prompt.id] = number
            prompts.append(prompt)
    if not prompts:
        raise FileError(str(file), None, "holds no prompt")
    return tuple(prompts)


def load_set(folder: Path, aliases: Mapping[str, str] | None = None) -> RoutingSet:
    """Read a data set; `aliases` maps column names to the names to use instead.

    Raises FileError naming file, line and column for ids that do not match, values outside [0, 1], text where
    a number should be.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"the data set {folder} is not a folder")
    prompts_file, scores_file = _required(folder, "prompts.jsonl"), _required(folder, "scores.csv")
    meta = _meta(folder)
    prompts = read_prompts(prompts_file)
    found = _RANGE.match(str(meta.get("score_type", "")))
    least, top = (float(found[1]), float(found[2])) if found else (0.0, 1.0)
    if top <= 0:
        raise FileError(str(folder / "meta.json"), None, f"score_type: the range ends at {top:g}")
    columns, scores = _matrix(scores_file, prompts, (least, top))
    models = tuple((aliases or {}).get(column, column) for column in columns)
    twice = sorted({model for model in models if models.count(model) > 1})
    output_tokens = None
    for name, factor in _LENGTHS:
        if (file := _optional(folder, f"{name}.csv")) is not None:
            output_tokens = _aligned(file, prompts, columns) * np.float32(factor)
            break
    cost_file = _optional(folder, "cost_usd.csv")
    scores /= np.float32(top)
    result = RoutingSet(
        name=encodable(str(meta.get("name", folder.name))),
        license=encodable(str(meta.get("licence", meta.get("license", "not stated")))),
        sha256=_sha256(prompts_file, scores_file),
        prompts=prompts,
        models=models,
        scores=scores,
        cost_usd=None if cost_file is None else _aligned(cost_file, prompts, columns),
        output_tokens=output_tokens,
    )
    return _merge_columns(result, twice) if twice else result


def read_aliases(file: Path) -> dict[str, str]:
    """`{"name": {"aliases": [...]}}` as a mapping from every alias to its name. Raises FileError."""
    try:
        document = msgspec.json.decode(_text(file), type=dict[str, _ModelNames])
    except msgspec.DecodeError as error:
        expected = 'expected {"name": {"aliases": ["other name", …]}, …}'
        raise FileError(str(file), None, f"{expected}: {error}") from None
    names: dict[str, str] = {}
    for name, entry in document.items():
        for alias in (name, *entry.aliases):
            if names.setdefault(alias, name) != name:
                raise FileError(str(file), None, f'"{alias}" stands for both {names[alias]} and {name}')
    return names


def read_ids(file: Path) -> tuple[str, ...]:
    """One prompt id a line."""
    ids = tuple(line.strip() for line in _text(file).splitlines() if line.strip())
    if not ids:
        raise FileError(str(file), None, "holds no prompt id")
    return ids


def restrict(sets: Sequence[RoutingSet], ids: Iterable[str], origin: str) -> tuple[RoutingSet, ...]:
    """The sets' rows whose prompt id is listed. Raises CallerError for an id that no set has."""
    wanted = set(ids)
    known = {prompt.id for each in sets for prompt in each.prompts}
    if missing := sorted(wanted - known):
        names = ", ".join(each.name for each in sets)
        hint = did_you_mean(missing[0], sorted(known)[:2000])
        raise CallerError(f'{origin}: {len(missing)} ids are in none of {names}, for example "{missing[0]}"{hint}')
    chosen = (
        each.rows(np.array([row for row, prompt in enumerate(each.prompts) if prompt.id in wanted], dtype=np.intp))
        for each in sets
    )
    return tuple(each for each in chosen if each.prompts)


def join(sets: Sequence[RoutingSet]) -> RoutingSet:
    """One set of all rows; models that share a name share a column."""
    if len(sets) == 1:
        return sets[0]
    models = tuple(dict.fromkeys(model for each in sets for model in each.models))

    def stacked(matrix_of: Any) -> Floats:
        blocks = []
        for each in sets:
            block = np.full((len(each.prompts), len(models)), np.nan, dtype=np.float32)
            matrix = matrix_of(each)
            if matrix is not None:
                block[:, [models.index(model) for model in each.models]] = matrix
            blocks.append(block)
        return np.vstack(blocks)

    return RoutingSet(
        name="+".join(each.name for each in sets),
        license=", ".join(dict.fromkeys(each.license for each in sets)),
        sha256=hashlib.sha256("".join(each.sha256 for each in sets).encode()).hexdigest(),
        prompts=tuple(
            msgspec.structs.replace(prompt, id=f"{each.name}/{prompt.id}") for each in sets for prompt in each.prompts
        ),
        models=models,
        scores=stacked(lambda each: each.scores),
        cost_usd=stacked(lambda each: each.cost_usd),
        output_tokens=stacked(lambda each: each.output_tokens),
    )


def _prompt(line: str, file: Path, number: int, domains: dict[str, str]) -> Prompt:
    """The prompt on a line. `domains` holds the names met so far, so that each is kept once."""
    row = _json(line, file, number)
    if not isinstance(row, dict):
        raise FileError(str(file), number, "expected an object with prompt_id and prompt")
    identity, text = row.get("prompt_id"), row.get("prompt")
    if not str(identity).strip() or identity is None or isinstance(identity, dict | list | bool | float):
        raise FileError(str(file), number, "prompt_id: is missing" if identity is None else "prompt_id: not a word")
    if "messages" in row:
        try:
            turns = ChatRequest.from_body(row).human_turns
        except CallerError as error:
            raise FileError(str(file), number, str(error)) from None
    elif isinstance(text, str):
        turns = (encodable(text),)
    else:
        known = f"; found {json.dumps(text)[:40]}" if "prompt" in row else did_you_mean("prompt", row.keys())
        raise FileError(str(file), number, f"prompt: expected a text{known}")
    domain = encodable(str(row.get("domain") or ""))
    return Prompt(encodable(str(identity)), turns, domains.setdefault(domain, domain))


def _json(text: str, file: Path, line: int | None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FileError(str(file), line or error.lineno, f"is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise FileError(str(file), line, "is not JSON: nested too deeply, or a number is too long") from None


def _matrix(file: Path, prompts: Sequence[Prompt], span: tuple[float, float]) -> tuple[tuple[str, ...], Floats]:
    with _reading(file, "") as lines:
        rows = _csv_rows(lines, file)
        _, header = next(rows, (1, []))
        columns = tuple(column.strip() for column in header[1:])
        if not columns:
            raise FileError(str(file), 1, "expected a header: prompt_id, then one column a model")
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise FileError(str(file), 1, f'the column "{twice[0]}" stands twice')
        if "" in columns:
            raise FileError(str(file), 1, f"column {columns.index('') + 2} has no name")
        row_of = {prompt.id: row for row, prompt in enumerate(prompts)}
        values = np.full((len(prompts), len(columns)), np.nan, dtype=np.float32)
        seen = np.zeros(len(prompts), dtype=np.bool_)
        for line, cells in rows:
            if len(cells) != len(header):
                raise FileError(str(file), line, f"has {len(cells)} cells, the header {len(header)}")
            name = cells.pop(0)
            row = row_of.get(name)
            if row is None:
                hint = did_you_mean(name, list(row_of)[:2000])
                raise FileError(str(file), line, f'prompt_id "{name}" is not in {file.parent}/prompts.jsonl{hint}')
            if seen[row]:
                raise FileError(str(file), line, f'prompt_id "{name}" stands twice')
            seen[row] = True
            values[row] = _numbers(cells, file, line, columns, span)
    if not seen.any():
        raise FileError(str(file), None, "holds no outcome")
    if not seen.all():
        missing, count = prompts[int(seen.argmin())].id, len(seen) - int(seen.sum())
        raise FileError(str(file), None, f'has no row for {count} of {len(prompts)} prompts, for example "{missing}"')
    return columns, values


def _csv_rows(lines: TextIO, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank."""
    reader = csv.reader(lines)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise FileError(str(file), reader.line_num, f"is not CSV: {error}") from None


def _numbers(cells: Sequence[str], file: Path, line: int, columns: Sequence[str], span: tuple[float, float]) -> Doubles:
    """The cells of a row, NaN where one is blank."""
    least, greatest = span
    try:
        values = np.array([float(cell) if cell else math.nan for cell in cells])
    except ValueError:
        pass
    else:
        # All in range but the empty ones: no cell needs a closer look.
        if np.count_nonzero((values >= least) & (values <= greatest)) == len(cells) - cells.count(""):
            return values
    return np.array([_number(cell, file, line, column, span) for cell, column in zip(cells, columns, strict=True)])


def _number(cell: str, file: Path, line: int, column: str, span: tuple[float, float]) -> float:
    if not cell.strip():
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise FileError(str(file), line, f'{column}: expected a number or nothing, got "{cell[:40]}"') from None
    if not math.isfinite(value):
        raise FileError(str(file), line, f'{column}: got "{cell}"; leave the cell empty where a model was not run')
    least, greatest = span
    if not least <= value <= greatest:
        raise FileError(str(file), line, f"{column}: {value:g} is not between {least:g} and {greatest:g}")
    return value


def _aligned(file: Path, prompts: Sequence[Prompt], columns: Sequence[str]) -> Floats:
    """A side table in the order of the score table's columns; columns it has not are unknown."""
    own, values = _matrix(file, prompts, (0.0, _HUGE))
    result = np.full((len(prompts), len(columns)), np.nan, dtype=np.float32)
    for position, column in enumerate(columns):
        if column in own:
            result[:, position] = values[:, own.index(column)]
    return result


def _merge_columns(each: RoutingSet, twice: Sequence[str]) -> RoutingSet:
    """Average the columns that aliases gave the same name, such as two runs of one model."""
    models = tuple(dict.fromkeys(each.models))

    def merged(matrix: Floats | None) -> Floats | None:
        if matrix is None:
            return None
        columns = [matrix[:, [name == model for name in each.models]] for model in models]
        return np.column_stack([_mean_of_known(column) for column in columns])

    scores = merged(each.scores)
    assert scores is not None, twice
    return msgspec.structs.replace(
        each,
        models=models,
        scores=scores,
        cost_usd=merged(each.cost_usd),
        output_tokens=merged(each.output_tokens),
    )


def _mean_of_known(columns: Floats) -> Floats:
    known = ~np.isnan(columns)
    count = known.sum(axis=1)
    total = np.where(known, columns, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _meta(folder: Path) -> dict[str, Any]:
    file = folder / "meta.json"
    if not file.exists():
        return {}
    meta = _json(_text(file), file, None)
    if not isinstance(meta, dict):
        raise FileError(str(file), 1, "expected an object")
    return meta


def _optional(folder: Path, name: str) -> Path | None:
    return next((folder / each for each in (name, f"{name}.gz") if (folder / each).is_file()), None)


def _required(folder: Path, name: str) -> Path:
    file = _optional(folder, name)
    if file is None:
        raise ConfigurationError(f"the data set {folder} has no {name} (or {name}.gz)")
    return file


def _text(file: Path) -> str:
    with _reading(file, "\n") as stream:
        return stream.read()


@contextlib.contextmanager
def _reading(file: Path, newline: str) -> Iterator[TextIO]:
    """The text of a file, unpacked as it is read: it may be greater than the memory. What keeps it from being read is
    raised as FileError.
    """
    try:
        packed = file.suffix == ".gz"
        if packed:
            # Else the first garbled line would be named, and not the damage.
            with gzip.open(file) as whole:
                while whole.read(_READ_AT_ONCE):
                    pass
        with gzip.open(file) if packed else file.open("rb") as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileError(str(file), None, f"is damaged: {error}") from None
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FileError(str(file), _undecodable_line(file), "is not UTF-8") from None


def _undecodable_line(file: Path) -> int | None:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _sha256(*files: Path) -> str:
    """Of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while part := stream.read(_READ_AT_ONCE):
                digest.update(part)
    return digest.hexdigest()
