"""Gate files: written, read, and refused where they are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router import settings
from router.compose.learned import GATE_FILE, load_gate, save_gate
from router.errors import ArtifactError
from router.loading import load_plan_gate

SHIPPED = settings.shipped_artifact_folder()


def test_the_package_has_a_gate_and_states_what_it_was_learned_from() -> None:
    file = load_gate(SHIPPED)
    assert file is not None
    assert file.data_sets[0].name == "mmlu_pro"
    assert "--plans-only" in file.command
    assert 0.5 < file.closed_forms.auc < 0.8
    assert 0.2 < file.closed_forms.correlation < 0.6
    assert 0.2 < file.closed_forms.wrong_agreement < 0.6


def test_a_gate_that_is_written_is_read_again(tmp_path: Path) -> None:
    file = load_gate(SHIPPED)
    assert file is not None
    save_gate(tmp_path, file)
    assert load_gate(tmp_path) == file


def test_an_artifact_without_a_gate_uses_that_of_the_package(tmp_path: Path) -> None:
    assert load_gate(tmp_path) is None
    assert load_plan_gate(tmp_path).id == load_plan_gate().id


def no_weight(document: dict[str, Any]) -> None:
    document["weights"]["general"]["own"].pop()


def other_weight(document: dict[str, Any]) -> None:
    document["weights"]["general"]["joined"][3] += 0.01


def other_constant(document: dict[str, Any]) -> None:
    document["closed_forms"]["auc"] = 0.9


def word(document: dict[str, Any]) -> None:
    document["weights"]["general"]["gain"][0] = "much"


def newer(document: dict[str, Any]) -> None:
    document["version"] = 99


def other_format(document: dict[str, Any]) -> None:
    document["format"] = "pulvinar-predictor"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_weight, "is damaged"),
        (other_weight, "SHA-256"),
        (other_constant, "SHA-256"),
        (word, "is damaged"),
        (newer, "version 99"),
        (other_format, "pulvinar-gate"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], words: str
) -> None:
    document = json.loads((SHIPPED / GATE_FILE).read_text("utf-8"))
    damage(document)
    (tmp_path / GATE_FILE).write_text(json.dumps(document), "utf-8")
    with pytest.raises(ArtifactError, match=words) as caught:
        load_gate(tmp_path)
    assert GATE_FILE in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / GATE_FILE).write_bytes((SHIPPED / GATE_FILE).read_bytes()[:200])
    with pytest.raises(ArtifactError, match="is damaged"):
        load_gate(tmp_path)
