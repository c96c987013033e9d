from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.adapters.base import read_base
from router.adapters.delta import NotLowRankError, compressed, delta_of
from router.adapters.fold import fold, truncate
from router.adapters.folder import read_adapter
from router.errors import CallerError, FileError
from tests.adapters import folders
from tests.adapters.folders import Made, all_kinds, base_weights, write_adapter, write_base

FOLDABLE = [
    "lora",
    "rslora",
    "patterns",
    "lora-xs",
    "adalora",
    "hydra",
    "hydra-branches",
    "loldu",
    "vera",
    "loha",
    "lokr",
]
REFUSED = ["dora", "ia3", "oft", "boft", "prompt-tuning", "fourierft", "xlora"]


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


@pytest.mark.parametrize("dtype", ["F64", "F32"])
@pytest.mark.parametrize("kind", FOLDABLE)
def test_a_folded_adapter_is_plain_lora_with_the_same_change(tmp_path: Path, kind: str, dtype: str) -> None:
    made = all_kinds()[kind]
    base = read_base(write_base(tmp_path / "base", base_weights()))
    adapter = read_adapter(write_adapter(tmp_path / "in", made, dtype))
    for module, expected in made[2].items():
        assert relative(delta_of(adapter, module, base).dense(), expected) <= (1e-12 if dtype == "F64" else 1e-5)
    result = fold(adapter, tmp_path / "out", base)
    folded = read_adapter(tmp_path / "out")
    config = folded.config
    assert (config.peft_type, config.rank_pattern, config.use_rslora) == ("LORA", {}, False)
    assert set(folded.modules) == set(made[2])
    for module, parts in folded.modules.items():
        up, down = folded.part(module, "lora_B"), folded.part(module, "lora_A")
        assert set(parts) == {"lora_A", "lora_B"}
        assert len(down) == config.rank == result.rank
        found = config.raw["lora_alpha"] / config.raw["r"] * up @ down
        assert relative(found, made[2][module]) <= (1e-6 if dtype == "F64" else 1e-5)
    assert result.difference <= 1e-6


def test_rslora_keeps_its_matrices_and_gets_another_alpha(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", all_kinds()["rslora"]))
    fold(adapter, tmp_path / "out")
    folded = read_adapter(tmp_path / "out")
    assert folded.config.alpha == 8 * 4 / 2
    for module in adapter.modules:
        np.testing.assert_array_equal(folded.part(module, "lora_B"), adapter.part(module, "lora_B"))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_low_rank_change_is_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", all_kinds()[kind]))
    with pytest.raises(NotLowRankError):
        fold(adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_dora_whose_magnitudes_change_nothing_is_folded(tmp_path: Path) -> None:
    weights = base_weights()
    made = folders.dora(np.random.default_rng(0), weights)
    base = read_base(write_base(tmp_path / "base", weights))
    adapter = read_adapter(write_adapter(tmp_path / "in", made, "F64"))
    fold(adapter, tmp_path / "out", base)
    folded = read_adapter(tmp_path / "out")
    assert all(relative(delta_of(folded, module).dense(), made[2][module]) < 1e-6 for module in made[2])


def test_dora_that_scales_rows_is_refused_also_with_the_base(tmp_path: Path) -> None:
    base = read_base(write_base(tmp_path / "base", base_weights()))
    adapter = read_adapter(write_adapter(tmp_path / "in", all_kinds()["dora"]))
    with pytest.raises(NotLowRankError, match="DoRA scales rows"):
        fold(adapter, tmp_path / "out", base)


@pytest.mark.parametrize(("factor", "stated"), [(0.5, "by 0.5"), (3.0, "by 3")])
def test_the_refusal_of_dora_states_the_scale_that_is_farthest_from_one(
    tmp_path: Path, factor: float, stated: str
) -> None:
    weights = base_weights()
    settings, tensors, deltas = folders.dora(np.random.default_rng(0), weights)
    for name in tensors:
        if name.endswith("lora_magnitude_vector.weight"):
            tensors[name][1] *= factor
    base = read_base(write_base(tmp_path / "base", weights))
    adapter = read_adapter(write_adapter(tmp_path / "in", (settings, tensors, deltas), "F64"))
    with pytest.raises(NotLowRankError, match=rf"{stated}\b(?!\.)"):
        fold(adapter, tmp_path / "out", base)


def test_a_gate_is_refused_without_fixed_weights(tmp_path: Path) -> None:
    made = folders.hydra(np.random.default_rng(0), gate=True)
    adapter = read_adapter(write_adapter(tmp_path / "in", made, "F64"))
    with pytest.raises(NotLowRankError, match="lora_route"):
        fold(adapter, tmp_path / "out")
    fold(adapter, tmp_path / "out", expert_weights=(1.0, 1.0, 1.0))
    folded = read_adapter(tmp_path / "out")
    assert all(relative(delta_of(folded, module).dense(), made[2][module]) < 1e-6 for module in made[2])


def test_a_branch_behind_a_layer_is_refused_without_its_weight_or_where_it_reads_a_bias(tmp_path: Path) -> None:
    made = all_kinds()["hydra-branches"]
    adapter = read_adapter(write_adapter(tmp_path / "in", made, "F64"))
    with pytest.raises(NotLowRankError, match="give --base DIR"):
        fold(adapter, tmp_path / "out")
    module = next(iter(made[2]))
    write_base(tmp_path / "base", base_weights(), biases={module: np.ones(len(made[2][module]))})
    with pytest.raises(NotLowRankError, match="LoRA adds no bias"):
        fold(adapter, tmp_path / "out", read_base(tmp_path / "base"))
    assert not (tmp_path / "out").exists()


def test_the_number_of_fixed_weights_must_be_that_of_the_parts(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", all_kinds()["hydra"]))
    with pytest.raises(Exception, match="has 3 B, but --expert-weights states 2"):
        fold(adapter, tmp_path / "out", expert_weights=(1.0, 1.0))


def test_whole_weights_are_refused(tmp_path: Path) -> None:
    settings, tensors, deltas = all_kinds()["lora"]
    whole = {**tensors, "base_model.model.lm_head.weight": np.ones((4, 4))}
    adapter = read_adapter(
        write_adapter(tmp_path / "in", ({**settings, "modules_to_save": ["lm_head"]}, whole, deltas))
    )
    with pytest.raises(NotLowRankError, match="lm_head"):
        fold(adapter, tmp_path / "out")


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", all_kinds()["lora"]))
    with pytest.raises(CallerError, match="already exists"):
        fold(adapter, tmp_path / "in")


def with_spectrum(sigma: list[float]) -> Made:
    """An adapter whose every ΔW has the singular values `sigma`."""
    random = np.random.default_rng(3)
    tensors, deltas = {}, {}
    for module, (outputs, inputs) in folders.modules().items():
        u = np.linalg.qr(random.standard_normal((outputs, len(sigma))))[0]
        v = np.linalg.qr(random.standard_normal((inputs, len(sigma))))[0]
        tensors[f"{folders.PREFIX}{module}.lora_A.weight"] = v.T
        tensors[f"{folders.PREFIX}{module}.lora_B.weight"] = u * sigma
        deltas[module] = (u * sigma) @ v.T
    return folders.config("LORA", r=len(sigma), lora_alpha=len(sigma)), tensors, deltas


def test_truncation_keeps_the_largest_singular_values_and_states_their_energy(tmp_path: Path) -> None:
    made = with_spectrum([3.0, 2.0, 1.0, 0.5])
    adapter = read_adapter(write_adapter(tmp_path / "in", made, "F64"))
    result = truncate(adapter, tmp_path / "out", 2)
    assert result.rank == 2
    assert result.kept_energy == pytest.approx(13 / 14.25)
    cut = read_adapter(tmp_path / "out")
    for module, whole in made[2].items():
        found = delta_of(cut, module).dense()
        assert np.linalg.matrix_rank(found, 1e-4) == 2
        assert np.linalg.norm(found - whole) == pytest.approx(np.sqrt(1.25), rel=1e-5)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 2


def test_truncation_to_the_rank_or_more_changes_nothing(tmp_path: Path) -> None:
    made = all_kinds()["lora"]
    adapter = read_adapter(write_adapter(tmp_path / "in", made, "F64"))
    result = truncate(adapter, tmp_path / "out", 64)
    assert (result.rank, result.kept_energy) == (4, pytest.approx(1))
    cut = read_adapter(tmp_path / "out")
    assert all(relative(delta_of(cut, module).dense(), made[2][module]) < 1e-6 for module in made[2])


def test_a_compressed_change_has_its_true_rank(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", with_spectrum([3.0, 2.0, 0.0, 0.0]), "F64"))
    delta = delta_of(adapter, next(iter(adapter.modules)))
    assert delta.rank == 4
    assert compressed(delta)[0].rank == 2


def test_a_zero_change_can_be_compressed_and_cut(tmp_path: Path) -> None:
    settings, tensors, _ = all_kinds()["lora"]
    zero = {name: values * ("lora_A" in name) for name, values in tensors.items()}
    result = truncate(read_adapter(write_adapter(tmp_path / "in", (settings, zero, {}))), tmp_path / "out", 2)
    assert (result.kept_energy, result.difference) == (1, 0)


def test_nan_is_refused(tmp_path: Path) -> None:
    settings, tensors, deltas = all_kinds()["lora"]
    next(iter(tensors.values()))[0, 0] = np.nan
    with pytest.raises(NotLowRankError, match="NaN"):
        fold(read_adapter(write_adapter(tmp_path / "in", (settings, tensors, deltas))), tmp_path / "out")


def test_shapes_that_do_not_fit_are_an_error_of_the_file(tmp_path: Path) -> None:
    settings, tensors, deltas = all_kinds()["lora"]
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = tensors[name][:3]
    with pytest.raises(FileError, match=r"shapes do not fit: lora_A \(3, 24\), lora_B \(24, 4\)"):
        fold(read_adapter(write_adapter(tmp_path / "in", (settings, tensors, deltas))), tmp_path / "out")


def test_an_embedding_is_folded_as_one(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    down, up = random.standard_normal((4, 50)), random.standard_normal((24, 4))
    name = "base_model.model.model.embed_tokens.lora_embedding_"
    settings = folders.config("LORA", r=4, lora_alpha=8, use_rslora=True, target_modules=["embed_tokens"])
    fold(
        read_adapter(write_adapter(tmp_path / "in", (settings, {f"{name}A": down, f"{name}B": up}, {}))),
        tmp_path / "out",
    )
    folded = read_adapter(tmp_path / "out")
    assert relative(delta_of(folded, "model.embed_tokens").dense(), 4 * up @ down) < 1e-6


@given(st.integers(0, 1000), st.integers(1, 8), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_first_ranks_are_the_product_of_the_first_rows_and_columns(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rank: int, rslora: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("prefix")
    made = folders.lora(np.random.default_rng(seed), rank=8, alpha=4, use_rslora=rslora)
    result = truncate(read_adapter(write_adapter(tmp_path / "in", made, "F64")), tmp_path / "out", rank, prefix=True)
    cut = read_adapter(tmp_path / "out")
    assert result.rank == rank
    for module in folders.modules():
        down, up = (made[1][f"{folders.PREFIX}{module}.lora_{part}.weight"] for part in "AB")
        expected = 4 / (rank**0.5 if rslora else rank) * up[:, :rank] @ down[:rank]
        assert relative(delta_of(cut, module).dense(), expected) <= 1e-6


@given(st.integers(0, 1000), st.integers(1, 8))
@settings(max_examples=15, deadline=None)
def test_more_ranks_never_keep_less_and_no_cut_is_nearer_than_the_singular_values(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rank: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("kept")
    adapter = read_adapter(write_adapter(tmp_path / "in", folders.lora(np.random.default_rng(seed), rank=8), "F64"))
    kept = [truncate(adapter, tmp_path / str(n), n).kept_energy for n in (rank, rank + 1)]
    assert kept[0] <= kept[1] + 1e-9
    assert truncate(adapter, tmp_path / "prefix", rank, prefix=True).kept_energy <= kept[0] + 1e-9


@pytest.mark.parametrize("kind", ["loha", "lora-xs", "vera"])
def test_only_plain_lora_has_first_ranks(tmp_path: Path, kind: str) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", all_kinds()[kind]))
    with pytest.raises(NotLowRankError, match="only plain LoRA has ranks in an order"):
        truncate(adapter, tmp_path / "out", 2, prefix=True)
