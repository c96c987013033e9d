"""Adapters rewritten as plain LoRA, which every server loads: folded exactly, or cut to a smaller rank."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from router.adapters import config as configs
from router.adapters.base import Base
from router.adapters.delta import Delta, NotLowRankError, compressed, delta_of
from router.adapters.folder import WEIGHTS, Adapter, read_adapter
from router.adapters.safetensors import write
from router.errors import CallerError
from router.formats.files import replace_file

_KEPT_KEYS = (
    "base_model_name_or_path", "revision", "task_type", "target_modules", "fan_in_fan_out", "exclude_modules",
    "layers_to_transform", "layers_pattern", "alora_invocation_tokens",
)  # fmt: skip
_PLAIN = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"})
_SEED = 2026


class Folded(Struct, frozen=True):
    """The written adapter: its rank, values and bytes before and after, the share of Σσ² that it keeps, and the largest
    difference of outputs on random inputs, relative to the largest output.
    """

    rank: int
    parameters_before: int
    parameters: int
    bytes_before: int
    bytes: int
    kept_energy: float
    least_kept: float
    least_kept_module: str
    difference: float


def fold(
    adapter: Adapter, out: Path, base: Base | None = None, expert_weights: Sequence[float] | None = None
) -> Folded:
    """Write `adapter` as plain LoRA with the same ΔW to the new folder `out`.

    Raises NotLowRankError where that is impossible, with the reason; CallerError where `out` exists.
    """
    return _rewrite(adapter, out, base, expert_weights, lambda delta: (delta, 1.0))


def truncate(adapter: Adapter, out: Path, rank: int, base: Base | None = None, *, prefix: bool = False) -> Folded:
    """Write the best approximation of `adapter` of at most `rank`, module by module; with `prefix`, its first `rank`
    ranks, for plain LoRA that was trained so that these alone work (DyLoRA). Raises like `fold`.
    """
    if not prefix:
        return _rewrite(adapter, out, base, None, lambda delta: compressed(delta, rank))
    parts = {part for of_module in adapter.modules.values() for part in of_module}
    if adapter.config.peft_type != "LORA" or not parts <= _PLAIN:
        raise NotLowRankError(f"{adapter.folder}: only plain LoRA has ranks in an order; cut it without --prefix")
    return _rewrite(adapter, out, base, None, lambda delta: _first_ranks(delta, rank, adapter.config.use_rslora))


def _first_ranks(delta: Delta, rank: int, use_rslora: bool) -> tuple[Delta, float]:
    """The first rows of A and columns of B, and the square of the cosine with the whole.

    Scaled as an adapter of `rank`: by alpha / rank, with rsLoRA by alpha / √rank.
    """
    kept = min(rank, delta.rank)
    times = delta.rank / kept
    first = Delta(
        delta.left[:, :kept] * (math.sqrt(times) if use_rslora else times), delta.right[:kept], delta.is_embedding
    )
    norms = first.norm * delta.norm
    return first, 1.0 if kept == delta.rank or norms == 0 else min(1.0, (first.inner(delta) / norms) ** 2)


def plain(
    adapter: Adapter, base: Base | None = None, expert_weights: Sequence[float] | None = None
) -> dict[str, Delta]:
    """The ΔW of each module, all with finite values. Raises NotLowRankError with the reason."""
    _check_foldable(adapter)
    deltas = {}
    for module in adapter.modules:
        delta = delta_of(adapter, module, base, expert_weights)
        if not (np.isfinite(delta.left).all() and np.isfinite(delta.right).all()):
            raise NotLowRankError(f"{module}: has NaN or infinite values; see `route adapters lint`")
        deltas[module] = delta
    return deltas


def common_scale(adapter: Adapter) -> float:
    """The one scale of all modules of plain LoRA, that of rsLoRA included; else 1.

    What is divided by it and scaled by it again keeps its matrices, to the bit.
    """
    config = adapter.config
    parts = {part for of_module in adapter.modules.values() for part in of_module}
    if config.peft_type != "LORA" or config.rank_pattern or config.alpha_pattern or not parts <= _PLAIN:
        return 1.0
    module = next(iter(adapter.modules))
    scale = config.scale_of(module, len(adapter.values(next(iter(adapter.modules[module].values())))))
    return scale if config.rank is not None and scale != 0 else 1.0


def padded(delta: Delta, rank: int, scale: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A and B of `rank` in float32, with ΔW = scale·B·A, the missing rows and columns zero: servers scale by one rank
    for all modules.
    """
    down = np.zeros((rank, delta.right.shape[1]), "<f4")
    up = np.zeros((len(delta.left), rank), "<f4")
    down[: delta.rank], up[:, : delta.rank] = delta.right, delta.left / scale
    return down, up


def _rewrite(
    adapter: Adapter,
    out: Path,
    base: Base | None,
    expert_weights: Sequence[float] | None,
    change: Callable[[Delta], tuple[Delta, float]],
) -> Folded:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CallerError(f"{out} already exists; give another folder")
    before = plain(adapter, base, expert_weights)
    changed: dict[str, Delta] = {}
    energies: dict[str, float] = {}
    for module, delta in before.items():
        changed[module], energies[module] = change(delta)
    rank = max(delta.rank for delta in changed.values())
    scale = common_scale(adapter) if all(energy == 1 for energy in energies.values()) else 1.0
    tensors = {name: values for module in changed for name, values in _tensors(module, changed[module], rank, scale)}
    out.mkdir(parents=True, exist_ok=True)
    write(out / WEIGHTS, tensors)
    text = json.dumps(_config(adapter, rank, scale * rank), indent=2, ensure_ascii=False)
    replace_file(out / configs.FILE_NAME, f"{text}\n".encode(), mode=0o666)
    least = min(energies, key=lambda module: (energies[module], module))
    weights = np.array([delta.norm**2 for delta in before.values()])
    shares = np.array([energies[module] for module in before])
    return Folded(
        rank=rank,
        parameters_before=adapter.parameters,
        parameters=sum(values.size for values in tensors.values()),
        bytes_before=adapter.weights.stat().st_size,
        bytes=(out / WEIGHTS).stat().st_size,
        kept_energy=float(np.sum(weights * shares) / np.sum(weights)) if np.sum(weights) > 0 else 1.0,
        least_kept=energies[least],
        least_kept_module=least,
        difference=_difference(before, read_adapter(out)),
    )


def _check_foldable(adapter: Adapter) -> None:
    config = adapter.config
    if config.peft_type not in configs.RANKED:
        raise NotLowRankError(f"{adapter.folder}: {config.peft_type} is no product of small matrices")
    if not adapter.modules:
        raise NotLowRankError(f"{adapter.folder}: {config.peft_type} has no module with matrices to fold")
    if config.modules_to_save or adapter.others:
        names = ", ".join(config.modules_to_save or adapter.others[:3])
        raise NotLowRankError(
            f"{adapter.folder}: replaces whole weights ({names}), which are no product of small matrices; merge "
            "it into the base"
        )
    if config.bias != "none":
        raise NotLowRankError(f"{adapter.folder}: bias: {config.bias}: LoRA servers add no biases; merge it")
    if why := config.changes_more:
        raise NotLowRankError(f"{adapter.folder}: {why}; merge it into the base")


def _tensors(module: str, delta: Delta, rank: int, scale: float) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """A and B by their names in the file."""
    names = ("lora_embedding_A", "lora_embedding_B") if delta.is_embedding else ("lora_A.weight", "lora_B.weight")
    return [
        (f"base_model.model.{module}.{name}", values)
        for name, values in zip(names, padded(delta, rank, scale), strict=True)
    ]


def _config(adapter: Adapter, rank: int, alpha: float) -> Mapping[str, Any]:
    """The configuration of plain LoRA."""
    whole = int(alpha) if alpha == int(alpha) else alpha
    kept = {key: adapter.config.raw[key] for key in _KEPT_KEYS if adapter.config.raw.get(key) is not None}
    kept.setdefault("target_modules", sorted({module.rpartition(".")[2] for module in adapter.modules}))
    plain = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": whole,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }
    return {**kept, **plain, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "inference_mode": True}


def _difference(before: Mapping[str, Delta], after: Adapter) -> float:
    """The largest difference of the written adapter's outputs on random inputs, relative to the largest output."""
    random = np.random.default_rng(_SEED)
    worst = 0.0
    for module, old in before.items():
        new = delta_of(after, module)
        inputs = random.standard_normal((old.right.shape[1], 4))
        expected = old.left @ (old.right @ inputs)
        largest = float(np.max(np.abs(expected)))
        if largest > 0:
            worst = max(worst, float(np.max(np.abs(new.left @ (new.right @ inputs) - expected))) / largest)
    return worst
