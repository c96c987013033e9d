"""Adapters as GGUF files, which llama.cpp's servers load: names of tensors, order of rows, scale.

llama.cpp computes alpha / rank · B · A with one alpha for all modules. What it expects was read from its converters and
from its loader, which refuses a file whose names or shapes are not those of the base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from router.adapters.base import Base, read_base
from router.adapters.delta import Delta
from router.adapters.fold import common_scale, padded, plain
from router.adapters.folder import Adapter
from router.errors import CallerError, ConfigurationError, MissingExtraError
from router.formats.files import replacing

Precision = Literal["f32", "f16"]

# llama.cpp's architecture by the class of the base model.
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "GraniteForCausalLM": "granite",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Phi3ForCausalLM": "phi3",
    "Olmo2ForCausalLM": "olmo2",
}
# Their query and key rows are stored as pairs that are rotated together: 0, n/2, 1, n/2 + 1 … of each head.
_PERMUTED = frozenset({"llama", "granite"})
_TENSOR_DTYPES: Mapping[Precision, Any] = {"f32": np.float32, "f16": np.float16}
_MIXTURE = re.compile("moe|mixtral", re.IGNORECASE)
_ALORA_TOKENS = "alora_invocation_tokens"


class Converted(Struct, frozen=True):
    """The written file: llama.cpp's name of the architecture, rank, alpha, and the number of tensors and bytes."""

    architecture: str
    rank: int
    alpha: float
    tensors: int
    bytes: int


def convert(
    adapter: Adapter,
    file: Path,
    base: Base,
    precision: Precision = "f32",
    expert_weights: Sequence[float] | None = None,
) -> Converted:
    """Write `adapter`, folded to plain LoRA, as GGUF.

    Raises NotLowRankError where it cannot be folded, ConfigurationError where llama.cpp could not load the result or
    the base is not known well enough, CallerError where `file` exists, MissingExtraError without the package gguf.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "adapters", "writing GGUF") from None
    if file.exists():
        raise CallerError(f"{file} already exists; give another file")
    architecture = _architecture(adapter, base)
    deltas = plain(adapter, base, expert_weights)
    rank, scale = max(delta.rank for delta in deltas.values()), common_scale(adapter)
    names = gguf.get_tensor_name_map(
        {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], base.layers or 0
    )
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for module, delta in deltas.items():
        name = names.get_name(module)
        _check(module, delta, base, architecture, name)
        down, up = padded(delta, rank, scale)
        if delta.is_embedding:
            down = down.T
        elif architecture in _PERMUTED:
            up = _rotary_rows(module, up, base)
        for part, values in (("lora_a", down), ("lora_b", up)):
            tensors[f"{name}.weight.{part}"] = _as(values, precision, module)
    writer = gguf.GGUFWriter(None, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, scale * rank)
    if tokens := adapter.config.raw.get(_ALORA_TOKENS):
        writer.add_key_value(
            gguf.Keys.Adapter.ALORA_INVOCATION_TOKENS, tokens, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32
        )
    for name, values in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(values))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part_file:
        writer.write_header_to_file(part_file)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return Converted(architecture, rank, scale * rank, len(tensors), file.stat().st_size)


def base_of(adapter: Adapter) -> Base:
    """The base in the folder that the adapter names. Raises ConfigurationError where there is none."""
    name = adapter.config.base_model
    if name is not None and (Path(name) / "config.json").is_file():
        return read_base(Path(name))
    raise ConfigurationError(
        f"{adapter.folder}: its base {name or '(not stated)'} is no folder here, and names and order of rows depend on "
        "it; give --base DIR (its config.json) or --base MODEL.gguf"
    )


def _architecture(adapter: Adapter, base: Base) -> str:
    """llama.cpp's name of the base's architecture."""
    if expert := next((module for module in adapter.modules if ".experts." in f".{module}."), None):
        raise ConfigurationError(
            f"{adapter.folder}: {expert} belongs to the experts of a mixture, of which llama.cpp has one tensor a "
            "layer; their adapters cannot be converted"
        )
    known = {**ARCHITECTURES, **{name: name for name in ARCHITECTURES.values()}}
    if base.layers is None or base.architecture is None:
        missing = "number of layers" if base.layers is None else "architecture"
        raise ConfigurationError(f"{base.folder}: states no {missing}, and the names of the tensors depend on it")
    if base.architecture not in known:
        is_mixture = _MIXTURE.search(base.architecture) is not None
        why = "is a mixture of experts, whose adapters cannot be converted" if is_mixture else "is not one of "
        names = "" if is_mixture else ", ".join(sorted(ARCHITECTURES))
        raise ConfigurationError(f"{base.folder}: the architecture {base.architecture} {why}{names}")
    return known[base.architecture]


def _check(module: str, delta: Delta, base: Base, architecture: str, name: str | None) -> None:
    """Raise ConfigurationError where llama.cpp would refuse the module, or compute something else."""
    if name is None:
        raise ConfigurationError(
            f"{module}: llama.cpp's {architecture} of {base.layers} layers has no tensor for it; is the base "
            "another one?"
        )
    if base.ties_embeddings and (delta.is_embedding or name == "output"):
        raise ConfigurationError(
            f"{module}: the base uses its embedding as output layer, too (tie_word_embeddings), so that llama.cpp has "
            "one tensor for both and cannot change only one; merge the adapter into the base"
        )
    shape, expected = (len(delta.left), delta.right.shape[1]), base.shape(module)
    if delta.is_embedding and expected is not None:
        expected = expected[::-1]
    if expected is not None and shape != expected:
        raise ConfigurationError(f"{module}: changes a weight of {shape}, but that of the base has {expected}")


def _rotary_rows(module: str, up: np.ndarray[Any, Any], base: Base) -> np.ndarray[Any, Any]:
    """The rows of B in llama.cpp's order: each head's second half between the rows of its first."""
    kind = module.rpartition(".")[2]
    if kind not in ("q_proj", "k_proj"):
        return up
    heads, key = (base.heads, "num_attention_heads") if kind == "q_proj" else (base.kv_heads, "num_key_value_heads")
    if heads is None:
        raise ConfigurationError(f"{base.folder}: {key}: is missing, and the order of the rows of {kind} depends on it")
    if len(up) % (2 * heads):
        raise ConfigurationError(f"{module}: {len(up)} outputs are no even number for each of {heads} heads ({key})")
    halves = up.reshape(heads, 2, -1, up.shape[1])
    return halves.swapaxes(1, 2).reshape(up.shape)


def _as(values: np.ndarray[Any, Any], precision: Precision, module: str) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        converted = values.astype(_TENSOR_DTYPES[precision])
    if not np.isfinite(converted).all():
        raise ConfigurationError(f"{module}: has values beyond {precision}'s largest; use f32")
    return converted
