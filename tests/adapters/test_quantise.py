from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from router.adapters.back_ends import verdict
from router.adapters.base import read_base
from router.adapters.delta import delta_of
from router.adapters.fold import fold
from router.adapters.folder import COLD_WEIGHTS, file_hash, read_adapter
from router.adapters.formats.cold import quantise, restore
from router.adapters.formats.packed import ALL_BITS, Packed
from router.adapters.lint import lint
from router.errors import CallerError, ConfigurationError, FileError
from tests.adapters.folders import all_kinds, write_adapter

WRITTEN = Path(__file__).parent / "peft"
MATRICES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=19),
    elements=st.floats(-1e6, 1e6, width=32),
)


def restored(matrix: np.ndarray, bits: int) -> np.ndarray:
    how = Packed(bits, matrix.shape)  # type: ignore[arg-type]
    return how.unpack(*how.pack(matrix))


@given(MATRICES)
@settings(max_examples=200, deadline=None)
def test_more_bits_never_lose_more(matrix: np.ndarray) -> None:
    errors = [float(np.sum((restored(matrix, bits) - matrix) ** 2)) for bits in ALL_BITS]
    assert all(more <= fewer * (1 + 1e-9) for more, fewer in pairwise(errors))
    assert errors[-1] <= float(np.sum(matrix**2)) * (1 + 1e-6)


@given(MATRICES, st.sampled_from(ALL_BITS))
@settings(max_examples=100, deadline=None)
def test_what_was_restored_is_stored_without_further_loss(matrix: np.ndarray, bits: int) -> None:
    once = restored(matrix, bits)
    np.testing.assert_allclose(restored(once, bits), once, rtol=1e-6, atol=1e-6 * np.max(np.abs(once)))


@given(MATRICES, st.sampled_from(ALL_BITS))
@settings(max_examples=100, deadline=None)
def test_the_bytes_are_those_of_the_formula(matrix: np.ndarray, bits: int) -> None:
    how = Packed(bits, matrix.shape)  # type: ignore[arg-type]
    codes, scales = how.pack(matrix)
    short, long = sorted(matrix.shape)
    assert codes.nbytes + scales.nbytes == short * (-(-long * bits // 8) + 4)


@pytest.mark.parametrize("name", ["lora-seven", "adalora", "loha", "vera", "oft"])
@pytest.mark.parametrize("bits", ALL_BITS)
def test_the_file_has_the_bytes_that_are_documented(tmp_path: Path, name: str, bits: int) -> None:
    adapter = read_adapter(WRITTEN / name)
    made = quantise(adapter, tmp_path / "cold", bits)  # type: ignore[arg-type]
    file = tmp_path / "cold" / COLD_WEIGHTS
    shapes = [tensor.shape for tensor in adapter.tensors.values()]
    data = sum(
        min(shape) * (-(-max(shape) * bits // 8) + 4) if len(shape) == 2 else 4 * int(np.prod(shape))
        for shape in shapes
    )
    (header,) = struct.unpack("<Q", file.read_bytes()[:8])
    assert file.stat().st_size == made.bytes == 8 + header + data
    assert made.header_bytes == 8 + header


@pytest.mark.parametrize("name", ["lora-seven", "rslora", "adalora", "loha", "vera"])
def test_the_change_of_the_weights_comes_back_the_better_the_more_bits(tmp_path: Path, name: str) -> None:
    base = read_base(WRITTEN / "base")
    original = read_adapter(WRITTEN / name)
    errors = []
    for bits in ALL_BITS:
        quantise(original, tmp_path / f"cold{bits}", bits)
        fold(read_adapter(tmp_path / f"cold{bits}"), tmp_path / f"fold{bits}", base)
        folded = read_adapter(tmp_path / f"fold{bits}")
        assert verdict(folded).servable == "adapter"
        deltas = {module: delta_of(original, module, base).dense() for module in original.modules}
        lost = sum(np.sum((delta_of(folded, module).dense() - deltas[module]) ** 2) for module in deltas)
        errors.append(float(np.sqrt(lost / sum(np.sum(delta**2) for delta in deltas.values()))))
    assert errors == sorted(errors)
    assert errors[0] < 0.02


def test_restoring_is_the_same_to_the_bit_each_time_and_keeps_the_type(tmp_path: Path) -> None:
    quantise(read_adapter(WRITTEN / "oft"), tmp_path / "cold", 4)
    for name in ("one", "two"):
        restore(read_adapter(tmp_path / "cold"), tmp_path / name)
    hashes = {file_hash(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two")}
    assert len(hashes) == 1
    one = read_adapter(tmp_path / "one")
    assert one.config.peft_type == "OFT"
    assert {name: tensor.shape for name, tensor in one.tensors.items()} == {
        name: tensor.shape for name, tensor in read_adapter(WRITTEN / "oft").tensors.items()
    }


def test_a_quantised_adapter_is_linted_and_imported_as_one_to_fold(tmp_path: Path) -> None:
    quantise(read_adapter(write_adapter(tmp_path / "in", all_kinds()["lora"])), tmp_path / "cold", 8)
    cold = read_adapter(tmp_path / "cold")
    assert [finding for finding in lint(cold) if finding.level == "error"] == []
    found = verdict(cold)
    assert (found.servable, found.servers) == ("fold", ())
    assert "quantised" in str(found.why)


def test_nan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    made = all_kinds()["lora"]
    next(iter(made[1].values()))[0, 0] = np.nan
    with pytest.raises(ConfigurationError, match="NaN"):
        quantise(read_adapter(write_adapter(tmp_path / "in", made)), tmp_path / "cold", 4)
    assert not (tmp_path / "cold").exists()


def test_quantising_twice_and_restoring_what_is_whole_are_refused(tmp_path: Path) -> None:
    whole = read_adapter(WRITTEN / "lora")
    with pytest.raises(CallerError, match="is not quantised"):
        restore(whole, tmp_path / "out")
    quantise(whole, tmp_path / "cold", 2)
    with pytest.raises(CallerError, match="is quantised"):
        quantise(read_adapter(tmp_path / "cold"), tmp_path / "out", 1)
    with pytest.raises(CallerError, match="already exists"):
        quantise(whole, tmp_path / "cold", 2)


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ("no json", "packed: JSON is malformed"),
        ({"x": [4, 4]}, "x: must be bits, rows and columns"),
        ({"x": [3, 4, 4]}, "x: bits: 3 is none of 8, 4, 2 and 1"),
        ({"x": [4, 4, 0]}, "x: must be bits, rows and columns"),
        ({"x": [4, 4, 4]}, "there is no tensor 'x.codes'"),
        ({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": [4, 9, 9]}, "are not those of a matrix"),
    ],
)
def test_a_broken_file_is_refused_with_file_and_tensor(tmp_path: Path, stated: object, problem: str) -> None:
    quantise(read_adapter(WRITTEN / "lora"), tmp_path / "cold", 4)
    file = tmp_path / "cold" / COLD_WEIGHTS
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header["__metadata__"]["packed"] = stated if isinstance(stated, str) else json.dumps(stated)
    head = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head + raw[8 + length :])
    with pytest.raises(FileError) as caught:
        read_adapter(tmp_path / "cold")
    assert str(caught.value).startswith(str(file))
    assert problem in str(caught.value)
