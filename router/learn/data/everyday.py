"""Graded prompts: everyday prompts and conversations with the share of good answers that people expect of models of
different strength.

A routing data set whose models are strengths, and whose `meta.json` names for each strength the models that stand for
it (`strengths: {small: [llama-3.1-8b-instruct], …}`, the weakest first) and for each domain its families of tasks
(`families: {sql: {coding: 1}}`). `data/everyday` of the repository is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from router.cards.benchmarks import FAMILIES, Family
from router.errors import FileError
from router.learn.data.prompts import read_prompt_rows
from router.learn.data.routing_set import RoutingSet, load_set
from router.learn.data.text_file import read_text
from router.perceive.features import context_of
from router.perceive.reader import Context
from router.types import Doubles
from router.wire.chat.request import ChatRequest

_LANGUAGE_SHARE = 0.5


class GradedPrompts(Struct, frozen=True, eq=False):
    """`outcomes` are the prompts and the expected shares of good answers. `contexts` are what stands around the human's
    turns, `languages` the codes of their languages. `families` float64 `(prompts, families - 1)` are the shares of each
    family of tasks but `general`. `pairs` are the rows of prompts that look alike. `strengths` names the models that
    stand for each column of the outcomes.
    """

    outcomes: RoutingSet
    contexts: tuple[Context, ...]
    languages: tuple[str, ...]
    families: Doubles
    pairs: tuple[tuple[int, int], ...]
    strengths: tuple[tuple[str, ...], ...]


class _Meta(Struct):
    strengths: dict[str, tuple[str, ...]] = {}
    families: dict[str, dict[Family, Annotated[float, Meta(ge=0, le=1)]]] = {}


def load_graded(folder: Path) -> GradedPrompts:
    """Read a folder of graded prompts. Raises FileError naming file and line, and CallerError."""
    outcomes = load_set(folder)
    meta = _read_meta(folder / "meta.json", outcomes)
    file = next(file for file in (folder / "prompts.jsonl", folder / "prompts.jsonl.gz") if file.exists())
    contexts, families, languages = [], [], []
    members: dict[str, list[int]] = {}
    for row, (line, fields, prompt) in enumerate(read_prompt_rows(file)):
        body = {"model": "auto", "messages": [{"role": "user", "content": fields.get("prompt")}], **fields}
        contexts.append(context_of(ChatRequest.from_body({name: body[name] for name in body if name in _BODY})))
        if prompt.domain not in meta.families:
            raise FileError(str(file), line, f'domain: meta.json has no families for "{prompt.domain}"')
        languages.append(str(fields.get("language") or "en"))
        families.append(_shares(meta.families[prompt.domain], languages[-1]))
        if isinstance(pair := fields.get("pair"), str):
            members.setdefault(pair, []).append(row)
    order = [list(outcomes.models).index(name) for name in meta.strengths]
    return GradedPrompts(
        outcomes=msgspec.structs.replace(outcomes, models=tuple(meta.strengths), scores=outcomes.scores[:, order]),
        contexts=tuple(contexts),
        languages=tuple(languages),
        families=np.array(families),
        pairs=tuple((rows[0], rows[1]) for rows in members.values() if len(rows) == 2),
        strengths=tuple(meta.strengths.values()),
    )


_BODY = ("model", "messages", "tools")


def _shares(families: Mapping[Family, float], language: str) -> list[float]:
    """The shares of the families but `general`; of a prompt that is not in English, half of it is a matter of
    languages.
    """
    shares = {name: families.get(name, 0.0) for name in FAMILIES[1:]}
    if language != "en":
        kept = 1.0 - _LANGUAGE_SHARE
        shares = {name: kept * share for name, share in shares.items()}
        shares["languages"] += _LANGUAGE_SHARE
    return list(shares.values())


def _read_meta(file: Path, outcomes: RoutingSet) -> _Meta:
    """`meta.json`. Raises FileError where it lacks the strengths, or names others than the columns of the scores."""
    try:
        meta = msgspec.json.decode(read_text(file), type=_Meta)
    except msgspec.DecodeError as error:
        raise FileError(str(file), None, str(error)) from None
    if sorted(meta.strengths) != sorted(outcomes.models):
        raise FileError(str(file), None, f"strengths: expected {', '.join(outcomes.models)}, as in scores.csv")
    return meta
