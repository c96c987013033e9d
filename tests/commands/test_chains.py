"""`route plans chains`: the best chains of cards for a kind of content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.commands.conftest import Run

SHIPPED = Path(__file__).parents[2] / "model_cards"
OCR = """\
id: ocr
provider: hosted_vllm
model: tesseract
modalities: [text, image]
consumes: [image]
produces: [text]
"""


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    (folder / "ocr.yaml").write_text(OCR)
    for name in ("llama-3.1-8b-instruct", "deepseek-v4-pro"):
        found = next(file for file in SHIPPED.rglob("*.yaml") if file.stem == name)
        shutil.copy(found, folder)
    return folder


def test_a_card_that_only_reads_images_comes_before_cards_that_read_text(run: Run, cards: Path) -> None:
    found = json.loads(run("plans", "chains", "image", "--cards", cards, "--json").out)
    assert found[0]["cards"] == ["ocr", "deepseek-v4-pro"]
    assert all(chain["cards"][0] == "ocr" for chain in found)
    assert found == sorted(found, key=lambda chain: chain["loss"])


def test_the_best_chain_is_saved_as_a_plan_that_can_be_listed(run: Run, cards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    assert "plan/scan" in run("plans", "chains", "image", "--cards", cards, "--save", folder / "scan.yaml").out
    shown = json.loads(run("plans", "show", "scan", "--plans-folder", folder, "--cards", cards).out)
    assert [stage["card"] for stage in shown["stages"]] == ["ocr", "deepseek-v4-pro"]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("imag", 'unknown kind of content "imag"; did you mean "image"?'), ("video", "no cards turn video into text")],
)
def test_a_kind_that_nothing_reads_is_explained(run: Run, cards: Path, kind: str, problem: str) -> None:
    assert problem in run("plans", "chains", kind, "--cards", cards).err
