from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from router.adapters.base import read_base
from router.adapters.folder import read_adapter
from router.adapters.lint import Finding, lint
from router.adapters.similar import nearly_the_same
from tests.adapters import folders
from tests.adapters.folders import BASE_CONFIG, Made, all_kinds, base_weights, write_adapter, write_base

FIRST = "model.layers.0.self_attn.q_proj"
A, B = f"{folders.PREFIX}{FIRST}.lora_A.weight", f"{folders.PREFIX}{FIRST}.lora_B.weight"


def errors(findings: list[Finding]) -> set[str]:
    return {finding.check for finding in findings if finding.level == "error"}


def linted(tmp_path: Path, made: Made, dtype: str = "F32", base: Path | None = None) -> list[Finding]:
    adapter = read_adapter(write_adapter(tmp_path / "adapter", made, dtype))
    return lint(adapter, None if base is None else read_base(base))


@pytest.mark.parametrize("kind", sorted(all_kinds()))
def test_a_sound_adapter_of_every_type_passes(tmp_path: Path, kind: str) -> None:
    base = write_base(tmp_path / "base", base_weights())
    assert linted(tmp_path, all_kinds()[kind], base=base) == []


def test_fifty_random_sound_adapters_pass(tmp_path: Path) -> None:
    base = read_base(write_base(tmp_path / "base"))
    adapters = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        made = folders.lora(random, rank=int(random.choice([1, 2, 4, 8])), alpha=float(random.choice([1, 8, 32])))
        for name, values in made[1].items():
            # Layers of real adapters differ by some times.
            made[1][name] = values * random.lognormal(0, 0.4)
        adapters.append(
            read_adapter(write_adapter(tmp_path / str(seed), made, str(random.choice(["F32", "F16", "BF16"]))))
        )
    assert [finding for adapter in adapters for finding in lint(adapter, base)] == []
    assert nearly_the_same(adapters) == []


Fault = Callable[[Made], Made]


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Fault:
    """A fault in one tensor; None removes it."""

    def plant(made: Made) -> Made:
        settings, tensors, deltas = made
        values = change(tensors.pop(name).copy())
        return settings, tensors if values is None else {**tensors, name: values}, deltas

    return plant


def key(name: str, value: object, *, remove: str = "") -> Fault:
    """A fault in one key of the configuration."""

    def plant(made: Made) -> Made:
        settings = {**{other: value for other, value in made[0].items() if other != remove}, name: value}
        return settings, made[1], made[2]

    return plant


def with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[0, 0] = value
        return values

    return change


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("values", tensor(A, with_value(np.nan))),
        ("values", tensor(B, with_value(np.inf))),
        ("norm", tensor(B, lambda values: values * 100)),
        ("norm", tensor(A, lambda values: values * 1e4)),
        ("pair", tensor(A, lambda values: None)),
        ("pair", tensor(B, lambda values: None)),
        ("rank", tensor(A, lambda values: values[:3])),
        ("rank", tensor(B, lambda values: values[:, :2])),
        ("rank", key("r", 8)),
        ("rank", key("rank_pattern", {"q_proj": 2})),
        ("base", tensor(A, lambda values: values[:, :-1])),
        ("base", tensor(B, lambda values: np.vstack([values, values]))),
        ("shape", tensor(A, lambda values: values[:, :0])),
        ("target", key("target_modules", ["v_proj", "down_proj"])),
        ("target", key("target_modules", r".*layers\.[12]\..*")),
        ("key", key("lora_aplha", 16, remove="lora_alpha")),
        ("key", key("x", 1, remove="r")),
        ("key", key("x", 1, remove="target_modules")),
        ("key", key("lora_alpha", 0)),
        ("tensor", key("modules_to_save", ["lm_head"])),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, check: str, fault: Fault) -> None:
    base = write_base(tmp_path / "base")
    assert check in errors(linted(tmp_path, fault(all_kinds()["lora"]), base=base))


@pytest.mark.parametrize("dtype", ["F64", "I8"])
def test_dtypes_that_servers_cannot_take_are_found(tmp_path: Path, dtype: str) -> None:
    made = all_kinds()["lora"]
    made = made[0], {name: np.ones_like(values) for name, values in made[1].items()}, {}
    assert "dtype" in errors(linted(tmp_path, made, dtype))


def test_a_layer_that_the_base_lacks_is_found(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    (base / "config.json").write_text(json.dumps({**BASE_CONFIG, "num_hidden_layers": 2}))
    found = linted(tmp_path, all_kinds()["lora"], base=base)
    assert {finding.where for finding in found} == {name for name in folders.modules() if ".2." in name}


def test_a_norm_is_named_with_module_and_factor(tmp_path: Path) -> None:
    made = tensor(B, lambda values: values * 100)(all_kinds()["lora"])
    (found,) = linted(tmp_path, made)
    assert (found.level, found.check, found.where) == ("error", "norm", FIRST)
    assert "times as much as its peers" in found.problem


def test_an_untrained_adapter_is_a_warning(tmp_path: Path) -> None:
    settings, tensors, _ = all_kinds()["lora"]
    zero = {name: values * ("lora_A" in name) for name, values in tensors.items()}
    (found,) = linted(tmp_path, (settings, zero, {}))
    assert (found.level, found.check) == ("warning", "norm")


def test_another_tokenizer_than_the_base_has_is_a_warning(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    (base / "tokenizer.json").write_text("{}")
    folder = write_adapter(tmp_path / "adapter", all_kinds()["lora"])
    (folder / "tokenizer.json").write_text('{"added": 1}')
    (found,) = lint(read_adapter(folder), read_base(base))
    assert (found.level, found.check) == ("warning", "tokenizer")


def test_keys_that_a_newer_peft_adds_are_no_fault(tmp_path: Path) -> None:
    settings, tensors, deltas = all_kinds()["lora"]
    newer = {**settings, "peft_version": "9.9", "kasa_config": None, "monteclora_config": None, "use_bdlora": None}
    assert linted(tmp_path, (newer, tensors, deltas)) == []


@pytest.mark.parametrize(("scale", "noise", "is_found"), [(1, 0, True), (3, 0, True), (1, 0.02, True), (1, 1, False)])
def test_near_duplicates_are_found_at_any_scale_and_factorisation(
    tmp_path: Path, scale: float, noise: float, is_found: bool
) -> None:
    random = np.random.default_rng(1)
    settings, tensors, _ = all_kinds()["lora"]
    turn = np.linalg.qr(random.standard_normal((4, 4)))[0]
    copy = {
        name: (turn @ values if "lora_A" in name else scale * values @ turn.T)
        + noise * random.standard_normal(values.shape) * values.std()
        for name, values in tensors.items()
    }
    one = read_adapter(write_adapter(tmp_path / "one", (settings, tensors, {})))
    other = read_adapter(write_adapter(tmp_path / "other", (settings, copy, {})))
    pairs = nearly_the_same([one, other])
    assert bool(pairs) is is_found
    if pairs:
        assert pairs[0].times == pytest.approx(scale, rel=0.05)


def test_a_fold_is_a_near_duplicate_of_its_source(tmp_path: Path) -> None:
    from router.adapters.fold import fold

    one = read_adapter(write_adapter(tmp_path / "one", all_kinds()["lora-xs"]))
    fold(one, tmp_path / "other")
    (pair,) = nearly_the_same([one, read_adapter(tmp_path / "other")])
    assert pair.cosine == pytest.approx(1)
