"""The plans of a folder, checked against the cards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from router.cards.catalog import Catalog
from router.decide.plans.checks import problems_of, unknown_cards
from router.decide.plans.forecast.columns import NO_COLUMNS, Columns
from router.decide.plans.possible import impossible, impossible_for_text, is_plain
from router.decide.plans.spec import KINDS, PREFIX, PlanSpec
from router.errors import ConfigurationError, FileError, UnknownModelError, did_you_mean, excerpt
from router.formats.yaml.file import convert, read_mapping, yaml_files
from router.formats.yaml.parsed import KeyPath
from router.types import Features

_MOST_SELECTED = 256
"""Policies, and keys that cards are hidden from, have few plans each."""


class SelectedPlans:
    """Plans that are compared with each other and with the cards. What depends on no request is bound to it once."""

    def __init__(self, plans: Sequence[PlanSpec], columns: Columns = NO_COLUMNS) -> None:
        self.plans, self.columns = tuple(plans), columns
        self.names = tuple(plan.name for plan in plans)
        self._for_text = tuple(impossible_for_text(plan) for plan in plans)

    def impossible(self, features: Features) -> tuple[str, ...]:
        """Why each plan cannot answer the request, whatever the cards are; empty where it can."""
        if is_plain(features):
            return self._for_text
        return tuple(impossible(plan, features) for plan in self.plans)


class Plans(Mapping[str, PlanSpec]):
    """The plans by id, in the order of their ids, and what those achieved that were measured."""

    def __init__(self, plans: Sequence[PlanSpec] = (), columns: Columns = NO_COLUMNS) -> None:
        self._plans = {plan.id: plan for plan in sorted(plans, key=lambda plan: plan.id)}
        self.columns = columns
        self.ids = tuple(self._plans)
        self._selected: dict[tuple[str, ...], SelectedPlans] = {}

    def __getitem__(self, name: str) -> PlanSpec:
        return self._plans[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plans)

    def __len__(self) -> int:
        return len(self._plans)

    def with_columns(self, columns: Columns) -> Plans:
        """These plans, forecast by these columns where they fit."""
        return Plans(tuple(self.values()), columns)

    def selected(self, names: tuple[str, ...]) -> SelectedPlans:
        """The plans with these ids, in their order; the same object each time. Raises UnknownModelError."""
        found = self._selected.get(names)
        if found is None:
            if len(self._selected) >= _MOST_SELECTED:
                self._selected.clear()
            found = self._selected[names] = SelectedPlans([self.named(name) for name in names], self.columns)
        return found

    def named(self, name: str) -> PlanSpec:
        """The plan with this id, with or without `plan/`. Raises UnknownModelError with the most similar id."""
        id_ = name.removeprefix(PREFIX)
        if id_ not in self._plans:
            known = f"; known: {', '.join(self.ids)}" if self.ids else ""
            raise UnknownModelError(f'there is no plan "{excerpt(id_)}"{did_you_mean(id_, self.ids) or known}')
        return self._plans[id_]


NO_PLANS = Plans()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a plan file, from which editors complete and check."""
    schema = msgspec.json.schema(PlanSpec)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Pulvinar plan",
        **schema,
    }


def load_plans(folder: Path | None, catalog: Catalog | None = None) -> Plans:
    """Load every `*.yaml` in `folder`: one plan per file, with the file's name as its id. None means no plans.

    With `catalog`, every card that a plan names must be in it. Raises ConfigurationError that lists all problems.
    """
    if folder is None:
        return NO_PLANS
    if not folder.is_dir():
        kind = "is a file; give the folder that contains it" if folder.is_file() else "does not exist"
        raise ConfigurationError(f"the plan folder {folder} {kind} (`route init` creates one)")
    files = yaml_files(folder)
    ids = frozenset(file.stem for file in files)
    plans: list[PlanSpec] = []
    problems: list[str] = []
    for file in files:
        try:
            plans.append(load_plan(file, catalog, ids))
        except FileError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return Plans(plans)


def load_plan(file: Path, catalog: Catalog | None = None, ids: frozenset[str] = frozenset()) -> PlanSpec:
    """Load one file; see `load_plans`. `ids` are those of all plans. Raises FileError."""
    document, lines = read_mapping(file, "a plan (keys and values)")
    plan = convert(document, _kind_of(document, file, lines), file, lines)
    if plan.id != file.stem:
        raise FileError(str(file), lines.get(("id",)), f'id: "{plan.id}" differs from the file name')
    named = () if catalog is None else unknown_cards(plan, catalog, ids)
    for path, problem in (*problems_of(plan), *named):
        line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), None)
        raise FileError(str(file), line, f"{'.'.join(map(str, path))}: {problem}")
    return plan


def _kind_of(document: Mapping[str, Any], file: Path, lines: Mapping[KeyPath, int]) -> type[PlanSpec]:
    """The type of this kind of plan, so that its keys are checked and not those of all kinds."""
    kind = document.get("kind")
    if kind is None:
        raise FileError(str(file), 1, f'the key "kind" is missing: one of {", ".join(KINDS)}')
    types = {each.__struct_config__.tag: each for each in get_args(PlanSpec)}
    if not isinstance(kind, str) or kind not in types:
        hint = did_you_mean(str(kind), KINDS) or f"; known: {', '.join(KINDS)}"
        problem = f'unknown kind "{kind}"' if isinstance(kind, str) else "expected one word"
        raise FileError(str(file), lines.get(("kind",)), f"kind: {problem}{hint}")
    found: type[PlanSpec] = types[kind]
    return found
