"""The outcomes of two cards on the same prompts: from a data set, from graded outcomes, or from the gateway's records.

| source | what identifies a prompt | the score |
|---|---|---|
| data set | `prompt_id` | as measured |
| folder of evidence (`route onboard`) | the probe's id and text | its grade |
| `.jsonl` of outcomes | `prompt_id` | as stated |
| records of `route serve` | feature vector and tokens | 1 for a whole answer that no plan rejected: nobody graded it |
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from router.analysis.promotion import Pairs
from router.cards.catalog import Catalog
from router.compose.answers import read_answer
from router.errors import CallerError, FileError, UnknownModelError, did_you_mean
from router.learn.data.routing_set import RoutingSet
from router.learn.data.score_table import read_header, read_texts
from router.learn.data.text_file import open_text, optional_file
from router.perceive.ability.evidence import ProbeOutcome, load_evidence
from router.store.records.record import Record
from router.types import Doubles, Mask

_SHOWN = 6
_UNREADABLE = ("failed", "rejected")
Key = TypeVar("Key")


class GradedOutcome(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a `.jsonl` file of outcomes: what the card `card` scored, in [0, 1], on the prompt `prompt_id`."""

    prompt_id: str | int
    card: str
    score: Annotated[float, Meta(ge=0, le=1)]
    prompt: str = ""
    domain: str = ""
    cost_usd: Annotated[float, Meta(ge=0)] | None = None
    output_tokens: Annotated[float, Meta(ge=0)] | None = None


class Side(Struct, frozen=True):
    """One outcome of a card: score, domain and text of the prompt, cost and length, where known."""

    score: float
    domain: str = ""
    prompt: str = ""
    cost_usd: float | None = None
    output_tokens: float | None = None


def names_of(name: str, catalog: Catalog) -> tuple[str, ...]:
    """All names under which outcomes of `name` may be recorded: as given, then those of the card that has it."""
    position = catalog.position(name)
    if position is None:
        return (name,)
    card = catalog[position]
    return tuple(dict.fromkeys((name, *card.names, card.model)))


def find(name: str, catalog: Catalog, known: Sequence[str], source: str) -> str:
    """The name among `known`, such as the columns of a set, under which `source` has outcomes of `name`.

    Raises UnknownModelError where neither a card nor a column has the name, and CallerError where the card has no
    outcomes; both with the nearest name.
    """
    names = names_of(name, catalog)
    if (found := next((each for each in names if each in known), None)) is not None:
        return found
    if catalog.position(name) is None:
        hint = did_you_mean(name, [*known, *catalog.ids, *(alias for card in catalog for alias in card.aliases)])
        raise UnknownModelError(f'there is no card "{name}", and {source} has no outcomes of that name{hint}')
    hint = next((hint for each in names if (hint := did_you_mean(each, known))), "")
    if not hint and catalog.named(name).examples:
        hint = "; its examples say what it is for, not how well it does: ask it the probes with `route onboard`"
    has = f"{', '.join(known[:_SHOWN])}{', …' if len(known) > _SHOWN else ''}" if known else "none"
    raise CallerError(f"{source} has no outcomes of {', '.join(names)}{hint or f'; it has those of {has}'}")


def pairs_of_set(data: RoutingSet, old: str, new: str, cost_usd: Doubles | None, folder: Path | None = None) -> Pairs:
    """The pairs of the columns `old` and `new`; `cost_usd` is `(prompts, models)`.

    `folder` is that of the set, which may have its models' answers.
    """
    one, two = data.models.index(old), data.models.index(new)
    known = np.isfinite(data.scores[:, [one, two]])
    rows = np.flatnonzero(known.all(axis=1))
    lengths = data.output_tokens

    def column(table: Doubles | None, model: int) -> Doubles | None:
        return None if table is None else np.asarray(table[rows, model], dtype=np.float64)

    changed = None if folder is None else _changed(folder, data, (old, new))
    return Pairs(
        source=data.name,
        old=data.scores[rows, one].astype(np.float64),
        new=data.scores[rows, two].astype(np.float64),
        domains=tuple(data.prompts[int(row)].domain for row in rows),
        turns=tuple(data.prompts[int(row)].turns for row in rows),
        old_cost_usd=column(cost_usd, one),
        new_cost_usd=column(cost_usd, two),
        old_tokens=column(None if lengths is None else lengths.astype(np.float64), one),
        new_tokens=column(None if lengths is None else lengths.astype(np.float64), two),
        changed=None if changed is None else changed[rows],
        left_out=int(known.any(axis=1).sum()) - len(rows),
    )


def pairs_of_evidence(folder: Path, old: str, new: str, catalog: Catalog) -> Pairs:
    """The pairs of probes that `route onboard` asked both cards. Raises as `find`, and FileError."""
    outcomes = load_evidence(folder)
    tables = [_probes(outcomes[find(name, catalog, tuple(outcomes), str(folder))]) for name in (old, new)]
    return _joined(str(folder), *tables)


def pairs_of_lines(file: Path, old: str, new: str, catalog: Catalog) -> Pairs:
    """The pairs of the outcomes in a `.jsonl` or `.jsonl.gz` file; of several of a prompt the last counts.

    Raises as `find`, and FileError naming the line.
    """
    decoder = msgspec.json.Decoder(GradedOutcome)
    outcomes: dict[str, dict[str, Side]] = {}
    with open_text(file, "\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = decoder.decode(line)
            except msgspec.DecodeError as error:
                expected = 'expected {"prompt_id": "17", "card": "id of a card", "score": 1}'
                raise FileError(str(file), number, f"{expected}: {error}") from None
            side = Side(row.score, row.domain, row.prompt, row.cost_usd, row.output_tokens)
            outcomes.setdefault(row.card, {})[str(row.prompt_id)] = side
    tables = [outcomes[find(name, catalog, tuple(outcomes), str(file))] for name in (old, new)]
    return _joined(str(file), *tables)


def pairs_of_records(records: Iterable[Record], source: str, old: str, new: str, catalog: Catalog) -> Pairs:
    """The pairs of recorded requests with the same prompt of which each card had one; of several the last counts.

    A card is right where its answer was whole and, in a plan, was not rejected. Raises as `find`.
    """
    outcomes: dict[str, dict[tuple[bytes, int], Side]] = {}
    for record in records:
        if record.decision is None:
            continue
        # A store may have millions of records; their vectors would not fit into memory.
        digest = hashlib.blake2b(record.decision.vector, digest_size=16).digest()
        key = digest, record.decision.input_tokens
        for card, side in _recorded(record):
            outcomes.setdefault(card, {})[key] = side
    tables = [outcomes[find(name, catalog, tuple(outcomes), source)] for name in (old, new)]
    return _joined(source, *tables)


def _recorded(record: Record) -> list[tuple[str, Side]]:
    """What each card that was asked made of a request. A card that was not reached has no outcome of its own."""
    outcome = record.outcome
    if outcome.calls:
        return [
            (
                call.card,
                Side(
                    0.0 if call.verdict in _UNREADABLE else 1.0,
                    cost_usd=call.cost_usd,
                    output_tokens=None if call.usage is None else call.usage.output_tokens,
                ),
            )
            for call in outcome.calls
            if call.verdict != "cancelled"
        ]
    failed = [(attempt.card, Side(0.0)) for attempt in outcome.attempts if attempt.fault is not None]
    if outcome.card is None or outcome.status >= 400 or outcome.error is not None:
        return failed
    tokens = None if outcome.usage is None else outcome.usage.output_tokens
    # After the failures: a retry that succeeded counts as an answer.
    return [*failed, (outcome.card, Side(1.0, cost_usd=outcome.cost_usd, output_tokens=tokens))]


def _probes(outcomes: Iterable[ProbeOutcome]) -> dict[tuple[str, str], Side]:
    return {
        outcome.key: Side(outcome.score, outcome.domain, outcome.prompt, outcome.cost_usd, outcome.output_tokens)
        for outcome in outcomes
    }


def _joined(source: str, old: Mapping[Key, Side], new: Mapping[Key, Side]) -> Pairs:
    """The outcomes on the prompts of both tables, in the order of the old one."""
    shared = [key for key in old if key in new]
    one, two = [old[key] for key in shared], [new[key] for key in shared]

    turns = tuple((first.prompt or second.prompt,) for first, second in zip(one, two, strict=True))

    def numbers(values: Iterable[float | None]) -> Doubles:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    return Pairs(
        source=source,
        old=numbers(side.score for side in one),
        new=numbers(side.score for side in two),
        domains=tuple(first.domain or second.domain for first, second in zip(one, two, strict=True)),
        turns=turns if all(text for (text,) in turns) else (),
        old_cost_usd=numbers(side.cost_usd for side in one),
        new_cost_usd=numbers(side.cost_usd for side in two),
        old_tokens=numbers(side.output_tokens for side in one),
        new_tokens=numbers(side.output_tokens for side in two),
        left_out=len(old) + len(new) - 2 * len(shared),
    )


def _changed(folder: Path, data: RoutingSet, columns: tuple[str, str]) -> Mask | None:
    """Where the two models' answers differ `(prompts,)`; None where the set does not have the answers of both."""
    file = optional_file(folder, "answers.csv")
    if file is None or not set(columns) <= set(read_header(file)):
        return None
    texts = read_texts(file, data.prompts, columns)
    return np.array([_value(one) != _value(two) for one, two in texts], dtype=np.bool_)


def _value(text: str) -> object:
    return read_answer(text) or " ".join(text.casefold().split())
