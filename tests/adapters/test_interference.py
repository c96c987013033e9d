"""What two adapters that are added up do to each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.adapters.folder import Adapter, read_adapter
from router.adapters.similar import interference
from router.errors import CallerError
from tests.adapters import folders
from tests.adapters.folders import Made, all_kinds, write_adapter


def written(tmp_path: Path, name: str, made: Made) -> Adapter:
    return read_adapter(write_adapter(tmp_path / name, made, "F64"))


def dense(made: Made) -> np.ndarray:
    return np.concatenate([made[2][module].ravel() for module in folders.modules()])


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(-3, 3))
@settings(max_examples=15, deadline=None)
def test_the_figures_are_those_of_the_dense_changes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, other_seed: int, mixed: float
) -> None:
    tmp_path = tmp_path_factory.mktemp("pair")
    first = folders.lora(np.random.default_rng(seed))
    second = folders.lora(np.random.default_rng([other_seed, 1]), alpha=32)
    for name in second[1]:
        if "lora_B" in name:
            down = name.replace("lora_B", "lora_A")
            second[1][down] = second[1][down] + mixed * first[1][down]
            second[1][name] = second[1][name] + mixed * first[1][name]
            module = name.removeprefix(folders.PREFIX).removesuffix(".lora_B.weight")
            second[2][module] = 8 * second[1][name] @ second[1][down]
    found = interference(written(tmp_path, "a", first), written(tmp_path, "b", second))
    a, b = dense(first), dense(second)
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-9)
    assert found.sum_norm == pytest.approx(np.linalg.norm(a + b) / np.hypot(np.linalg.norm(a), np.linalg.norm(b)))
    assert found.times == pytest.approx(np.linalg.norm(b) / np.linalg.norm(a))
    assert abs(found.largest) >= abs(found.cosine) - 1e-9


def test_independent_changes_can_be_added_up_and_the_same_ones_cannot(tmp_path: Path) -> None:
    one, other = (written(tmp_path, str(n), folders.lora(np.random.default_rng(n))) for n in range(2))
    assert not interference(one, other).is_beyond
    same = interference(one, one)
    assert same.is_beyond
    assert (same.cosine, same.sum_norm) == (pytest.approx(1), pytest.approx(2**0.5))


def test_a_change_that_cancels_another_is_beyond_the_limit(tmp_path: Path) -> None:
    settings_, tensors, _ = all_kinds()["lora"]
    turned = {name: values * (-1 if "lora_B" in name else 1) for name, values in tensors.items()}
    found = interference(
        written(tmp_path, "a", (settings_, tensors, {})), written(tmp_path, "b", (settings_, turned, {}))
    )
    assert found.is_beyond
    assert (found.cosine, found.sum_norm) == (pytest.approx(-1), pytest.approx(0))


def test_the_order_does_not_matter(tmp_path: Path) -> None:
    one, other = (written(tmp_path, str(n), folders.lora(np.random.default_rng(n))) for n in range(2))
    there, back = interference(one, other), interference(other, one)
    assert there.cosine == pytest.approx(back.cosine, abs=1e-12)
    assert there.sum_norm == pytest.approx(back.sum_norm, abs=1e-12)


def test_modules_that_only_one_changes_do_not_interfere(tmp_path: Path) -> None:
    settings_, tensors, _ = all_kinds()["lora"]
    halves = [
        {name: values for name, values in tensors.items() if ("down_proj" in name) is is_down}
        for is_down in (True, False)
    ]
    one, other = (written(tmp_path, str(n), (settings_, half, {})) for n, half in enumerate(halves))
    found = interference(one, other)
    assert (found.cosine, found.largest, found.module, found.shared, found.modules) == (0, 0, None, 0, 9)


def test_adapters_of_different_bases_are_refused(tmp_path: Path) -> None:
    settings_, tensors, _ = all_kinds()["lora"]
    moved = {**settings_, "base_model_name_or_path": "example/Other"}
    with pytest.raises(CallerError, match="are of different bases"):
        interference(written(tmp_path, "a", (settings_, tensors, {})), written(tmp_path, "b", (moved, tensors, {})))


def test_an_adapter_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    settings_, tensors, _ = all_kinds()["lora"]
    zero = {name: values * ("lora_A" in name) for name, values in tensors.items()}
    one = written(tmp_path, "a", (settings_, tensors, {}))
    with pytest.raises(CallerError, match="changes nothing"):
        interference(one, written(tmp_path, "b", (settings_, zero, {})))
