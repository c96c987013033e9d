"""The gate file of an artifact: weights as JSON, with the data they were learned from and a hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

import router
from router.compose.learned.gate import LearnedGate
from router.compose.learned.members import MembersRule
from router.compose.learned.rule import GateWeights
from router.decide.plans.forecast.columns import PlanColumn
from router.errors import ArtifactError
from router.perceive.artifact import read_manifest, write_manifest

GATE_FILE = "gate.json"
"""The name of the file in an artifact's folder."""

_FORMAT, _VERSION = "pulvinar-gate", 1


class ClosedForms(Struct, frozen=True, forbid_unknown_fields=True):
    """What the forecast of a plan assumes of cards without common answers, as measured.

    `auc` is that of what the text of an answer shows beyond its forecast, `correlation` that of the outcomes of two
    cards beyond their forecasts, `wrong_agreement` how often two wrong cards give the same wrong answer.
    """

    auc: float
    correlation: float
    wrong_agreement: float


class LearnedFrom(Struct, frozen=True, forbid_unknown_fields=True):
    """A set with answers: its name, its prompts, the models that answered, and the kinds of the answers by share."""

    name: str
    prompts: int
    models: tuple[str, ...]
    kinds: dict[str, float]


class GateFile(Struct, frozen=True, kw_only=True):
    """The contents of the file. `committees` are the gates of plans whose members have answered all prompts of a set,
    `columns` what such plans achieved there. `sha256` is that of the weights, the closed forms, the committees and the
    columns.
    """

    format: str = _FORMAT
    version: int = _VERSION
    release: str = ""
    command: str = ""
    data_sets: tuple[LearnedFrom, ...] = ()
    weights: GateWeights
    closed_forms: ClosedForms
    committees: tuple[MembersRule, ...] = ()
    columns: tuple[PlanColumn, ...] = ()
    sha256: str = ""

    @property
    def id(self) -> str:
        """The id of the gate in decisions and records."""
        return f"gate-{self.sha256[:12]}"

    def gate(self) -> LearnedGate:
        """The gate with these weights."""
        return LearnedGate(self.id, self.weights, self.committees)


def sealed(file: GateFile) -> GateFile:
    """`file` with its hash and this release."""
    return msgspec.structs.replace(file, sha256=_hash(file), release=router.__version__)


def save_gate(folder: Path, file: GateFile) -> None:
    """Write the file into an artifact's folder."""
    write_manifest(folder / GATE_FILE, file)


def load_gate(folder: Path) -> GateFile | None:
    """The gate of the artifact in `folder`, None where it has none. Raises ArtifactError where the file is damaged."""
    path = folder / GATE_FILE
    if not path.exists():
        return None
    file = read_manifest(path, GateFile, _FORMAT, _VERSION)
    if file.sha256 != _hash(file):
        raise ArtifactError(f"{path}: is damaged (the SHA-256 of its weights differs from the one it states)")
    for name, rule in {"general": file.weights.general, **file.weights.kinds}.items():
        if (problem := rule.problem()) is not None:
            raise ArtifactError(f"{path}: weights of {name}: {problem}; train it again")
    for committee in file.committees:
        if (problem := committee.problem()) is not None:
            raise ArtifactError(f"{path}: weights of {', '.join(committee.members)}: {problem}; train it again")
    for column in file.columns:
        if (problem := column.problem()) is not None:
            raise ArtifactError(f"{path}: column of {', '.join(column.members)}: {problem}; train it again")
    return file


def _hash(file: GateFile) -> str:
    contents: list[Any] = [file.weights, file.closed_forms]
    # Files of earlier releases have none of these, and keep their ids.
    contents += [each for each in (file.committees, file.columns) if each]
    return hashlib.sha256(msgspec.json.encode(contents, order="deterministic")).hexdigest()
