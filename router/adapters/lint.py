"""Faults of an adapter: broken values, shapes and keys that do not fit, norms far from those of its peers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from msgspec import Struct

from router.adapters.base import Base
from router.adapters.config import RANKED, misspelled_keys
from router.adapters.delta import Delta, NotLowRankError, delta_of
from router.adapters.folder import Adapter, tokenizer_hash
from router.errors import ConfigurationError

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_FLOATS = ("F32", "F16", "BF16")
_PARTNERS = {"lora_A": "lora_B", "lora_embedding_A": "lora_embedding_B", "vera_lambda_b": "vera_lambda_d"}
# A norm is far from its peers where it is so many robust deviations and so many times away from their median.
_DEVIATIONS = 6.0
_TIMES = 8.0
_TIMES_BROKEN = 30.0
_MAD_TO_DEVIATION = 1.4826
_FEWEST_PEERS = 2
_ENOUGH_PEERS = 5

Level = Literal["error", "warning"]


class Finding(Struct, frozen=True):
    """One fault. `check` is its kind in one word; `where` the tensor, module or key."""

    level: Level
    check: str
    where: str
    problem: str


def lint(adapter: Adapter, base: Base | None = None) -> list[Finding]:
    """The faults of `adapter`, the errors first; with `base`, also what does not fit it."""
    findings = [*_keys(adapter), *_tensors(adapter), *_pairs(adapter), *_targets(adapter)]
    broken = {finding.where for finding in findings if finding.level == "error"}
    if base is not None:
        findings += _against(adapter, base)
    deltas, problems = _deltas(adapter, base, broken)
    findings += problems
    findings += _norms(deltas)
    return sorted(findings, key=lambda finding: (finding.level != "error", finding.check, finding.where))


def _keys(adapter: Adapter) -> Iterator[Finding]:
    config = adapter.config
    if not config.raw:
        return
    for key, hint in misspelled_keys(config):
        yield Finding("error", "key", key, f"unknown key{hint}")
    if config.base_model is None:
        yield Finding("warning", "key", "base_model_name_or_path", "is missing: nothing says what the adapter is for")
    keys = RANKED.get(config.peft_type)
    if keys is not None and config.rank is None:
        yield Finding("error", "key", keys[0], "is missing")
    if keys is not None and keys[1] is not None and config.alpha is None:
        yield Finding("error", "key", keys[1], "is missing")
    if config.alpha == 0 and config.peft_type != "ADALORA":
        yield Finding("error", "key", "lora_alpha", "is 0, so that the adapter changes nothing")
    if keys is not None and not config.target_modules:
        yield Finding("error", "key", "target_modules", "is missing: servers need it")


def _tensors(adapter: Adapter) -> Iterator[Finding]:
    if not adapter.tensors and adapter.config.peft_type != "XLORA":
        yield Finding("error", "tensor", adapter.weights.name, "has no tensors")
    for name, tensor in adapter.tensors.items():
        if tensor.dtype not in _FLOATS and (tensor.dtype == "F64" or adapter.config.peft_type in RANKED):
            why = "which crashes llama.cpp" if tensor.dtype == "F64" else "which LoRA servers do not load"
            yield Finding("error", "dtype", name, f"is {tensor.dtype}, {why}")
        if tensor.values == 0:
            yield Finding("error", "shape", name, f"has the shape {list(tensor.shape)}, without values")
        elif not tensor.dtype.startswith("F8"):
            values = adapter.values(name)
            if broken := int(values.size - np.count_nonzero(np.isfinite(values))):
                kind = "NaN" if np.isnan(values).any() else "infinite"
                yield Finding("error", "values", name, f"{broken} of {values.size} values are {kind}")
    saved = adapter.config.modules_to_save
    for name in adapter.others:
        if not any(f".{module}." in f".{name}" for module in saved):
            yield Finding(
                "warning", "tensor", name, "belongs to no adapted module, and modules_to_save does not name it"
            )
    for module in saved:
        if not any(f".{module}." in f".{name}" for name in adapter.others):
            yield Finding("error", "tensor", module, "is in modules_to_save, but its weights are missing")


def _pairs(adapter: Adapter) -> Iterator[Finding]:
    """Missing partners, and ranks that differ from each other or from the configuration."""
    for module, parts in adapter.modules.items():
        shapes = {part: adapter.tensors[name].shape for part, name in parts.items()}
        for one, other in (*_PARTNERS.items(), *((b, a) for a, b in _PARTNERS.items())):
            has_experts = one == "lora_A" and any(part.startswith("lora_B") for part in parts)
            if one in parts and other not in parts and not has_experts:
                yield Finding("error", "pair", module, f"has {one} but no {other}")
        rank = shapes.get("lora_A", shapes.get("lora_embedding_A", ()))[:1]
        stated = adapter.config.rank_of(module)
        if not rank:
            continue
        for part, axis in (("lora_B", -1), ("lora_embedding_B", -1), ("lora_R", 0), ("lora_R", -1), ("lora_E", 0)):
            if part in shapes and (not shapes[part] or shapes[part][axis] != rank[0]):
                yield Finding(
                    "error", "rank", module, f"{part} has the shape {list(shapes[part])}, A the rank {rank[0]}"
                )
                break
        else:
            if stated is not None and rank[0] != stated and adapter.config.peft_type != "ADALORA":
                yield Finding("error", "rank", module, f"has the rank {rank[0]}, but the configuration states {stated}")


def _targets(adapter: Adapter) -> Iterator[Finding]:
    config = adapter.config
    for module in adapter.modules:
        if not config.targets(module):
            yield Finding("error", "target", module, "has tensors, but target_modules does not name it")
    if isinstance(config.target_modules, tuple) and adapter.modules:
        for target in config.target_modules:
            if not any(module == target or module.endswith(f".{target}") for module in adapter.modules):
                yield Finding("warning", "target", target, "is in target_modules, but has no tensors")


def _against(adapter: Adapter, base: Base) -> Iterator[Finding]:
    for module, parts in adapter.modules.items():
        layer = _LAYER.search(module)
        if layer is not None and base.layers is not None and int(layer[1]) >= base.layers:
            yield Finding("error", "base", module, f"is of layer {layer[1]}, but the base has {base.layers} layers")
            continue
        expected = base.shape(module)
        if expected is None:
            continue
        sizes = {part: adapter.tensors[name].shape for part, name in parts.items()}
        if "lora_embedding_A" in parts:
            expected = expected[::-1]
        for part, axis, size, what in (
            ("lora_A", 1, expected[1], "inputs"),
            ("lora_embedding_A", 1, expected[1], "inputs"),
            ("lora_B", 0, expected[0], "outputs"),
            ("lora_embedding_B", 0, expected[0], "outputs"),
            ("vera_lambda_b", 0, expected[0], "outputs"),
            ("hada_w1_a", 0, expected[0], "outputs"),
            ("hada_w1_b", 1, expected[1], "inputs"),
        ):
            shape = sizes.get(part)
            if shape is not None and len(shape) > axis and shape[axis] != size:
                yield Finding("error", "base", module, f"{part} has {shape[axis]} {what}, but the base's weight {size}")
    mine, its = tokenizer_hash(adapter.folder), tokenizer_hash(base.folder)
    if mine is not None and its is not None and mine != its:
        yield Finding("warning", "tokenizer", "tokenizer files", "differ from those of the base")


def _deltas(adapter: Adapter, base: Base | None, broken: set[str]) -> tuple[dict[str, Delta], list[Finding]]:
    """ΔW of the modules that have no fault yet, and what keeps others from having one."""
    deltas: dict[str, Delta] = {}
    findings = []
    for module, parts in adapter.modules.items():
        if module in broken or broken & set(parts.values()):
            continue
        try:
            deltas[module] = delta_of(adapter, module, base)
        except NotLowRankError:
            continue
        except ConfigurationError as error:
            if not broken:
                findings.append(Finding("error", "shape", module, str(error)))
    return deltas, findings


def _norms(deltas: Mapping[str, Delta]) -> Iterator[Finding]:
    """Modules that change their weight far more than their peers do: those of the same name, else all."""
    logs: dict[str, float] = {}
    for module, delta in deltas.items():
        norm = delta.norm / math.sqrt(len(delta.left) * delta.right.shape[1])
        if norm > 0 and math.isfinite(norm):
            logs[module] = math.log(norm)
    if deltas and not logs:
        yield Finding("warning", "norm", "all modules", "change nothing: every product is zero; was it trained?")
    elif zero := [module for module in deltas if module not in logs]:
        yield Finding("warning", "norm", zero[0], f"changes nothing, like {len(zero) - 1} more; others do")
    for module, value in logs.items():
        kind = module.rpartition(".")[2]
        others = [other for other in logs if other != module]
        same = [other for other in others if other.rpartition(".")[2] == kind]
        peers = [logs[other] for other in (same if len(same) >= _ENOUGH_PEERS else others)]
        if len(peers) < _FEWEST_PEERS:
            continue
        middle = float(np.median(peers))
        deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(np.array(peers) - middle)))
        times = math.exp(value - middle)
        if times > _TIMES and value - middle > _DEVIATIONS * deviation:
            level: Level = "error" if times > _TIMES_BROKEN else "warning"
            yield Finding(level, "norm", module, f"changes its weight {times:.3g} times as much as its peers")
