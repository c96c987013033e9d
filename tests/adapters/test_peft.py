"""Folders that peft 0.21 wrote: `python bench/adapter_files/write_peft.py tests/adapters/peft`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from router.adapters.back_ends import verdict
from router.adapters.base import read_base
from router.adapters.cards import describe
from router.adapters.delta import NotLowRankError, delta_of
from router.adapters.fold import fold
from router.adapters.folder import file_hash, read_adapter
from router.adapters.lint import lint
from router.adapters.safetensors import read_header, read_tensor

WRITTEN = Path(__file__).parent / "peft"
TRAINED = json.loads((WRITTEN / "expected.json").read_text(encoding="utf-8"))
BASE = read_base(WRITTEN / "base")
# The types and what can serve them.
TYPES = {
    "lora": ("LORA", "adapter"),
    "lora-seven": ("LORA", "adapter"),
    "lora-embeddings": ("LORA", "adapter"),
    "rslora": ("LORA", "adapter"),
    "patterns": ("LORA", "fold"),
    "rslora-patterns": ("LORA", "fold"),
    "dora": ("LORA", "merged-only"),
    "pissa": ("LORA", "merged-only"),
    "olora": ("LORA", "merged-only"),
    "bias": ("LORA", "merged-only"),
    "adalora": ("ADALORA", "fold"),
    "loha": ("LOHA", "fold"),
    "lokr": ("LOKR", "fold"),
    "lokr-both": ("LOKR", "fold"),
    "vera": ("VERA", "fold"),
    "vera-unsaved": ("VERA", "merged-only"),
    "ia3": ("IA3", "merged-only"),
    "oft": ("OFT", "merged-only"),
    "boft": ("BOFT", "merged-only"),
    "hra": ("HRA", "merged-only"),
    "miss": ("MISS", "merged-only"),
    "fourierft": ("FOURIERFT", "merged-only"),
    "vblora": ("VBLORA", "merged-only"),
    "randlora": ("RANDLORA", "merged-only"),
    "delora": ("DELORA", "merged-only"),
    "gralora": ("GRALORA", "merged-only"),
    "shira": ("SHIRA", "merged-only"),
    "ln-tuning": ("LN_TUNING", "merged-only"),
    "trainable-tokens": ("TRAINABLE_TOKENS", "merged-only"),
    "prompt-tuning": ("PROMPT_TUNING", "no"),
    "p-tuning": ("P_TUNING", "no"),
    "prefix-tuning": ("PREFIX_TUNING", "no"),
}
FOLDED = [name for name, (_, servable) in TYPES.items() if servable in ("adapter", "fold")]


def test_every_written_folder_is_tested() -> None:
    assert (
        sorted(TYPES)
        == sorted(TRAINED)
        == sorted(path.name for path in WRITTEN.iterdir() if path.is_dir() and path.name != "base")
    )


@pytest.mark.parametrize("name", TYPES)
def test_type_and_number_of_parameters_are_those_that_peft_wrote(name: str) -> None:
    adapter = read_adapter(WRITTEN / name)
    facts = describe(adapter, name)
    assert (facts.peft_type, facts.verdict.servable) == TYPES[name]
    assert facts.parameters == TRAINED[name]
    assert facts.base_model == "example/Tiny-Llama"
    assert facts.sha256 == file_hash(WRITTEN / name / "adapter_model.safetensors")


@pytest.mark.parametrize("name", TYPES)
def test_what_peft_wrote_has_no_faults(name: str) -> None:
    assert [finding for finding in lint(read_adapter(WRITTEN / name), BASE) if finding.level == "error"] == []


@pytest.mark.parametrize("name", FOLDED)
def test_a_fold_changes_each_weight_as_pefts_own_forward_does(tmp_path: Path, name: str) -> None:
    adapter = read_adapter(WRITTEN / name)
    fold(adapter, tmp_path / name, BASE)
    folded = read_adapter(tmp_path / name)
    assert verdict(folded).servers == ("vllm", "sglang", "llama.cpp", "lorax")
    expected = WRITTEN / name / "expected.safetensors"
    header = read_header(expected)
    assert set(header) == set(folded.modules)
    for module, tensor in header.items():
        change = read_tensor(expected, tensor)
        assert np.max(np.abs(change)) > 0.01
        for found in (delta_of(adapter, module, BASE), delta_of(folded, module)):
            assert np.max(np.abs(found.dense() - change)) <= 1e-6 * np.max(np.abs(change))


@pytest.mark.parametrize("name", [name for name in TYPES if name not in FOLDED])
def test_what_is_no_plain_lora_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotLowRankError) as caught:
        fold(read_adapter(WRITTEN / name), tmp_path / name, BASE)
    assert len(str(caught.value)) > 40
    assert not (tmp_path / name).exists()
