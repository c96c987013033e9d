"""The shape of a model from the `config.json` of its weights, as transformers writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.cards.machine.facts import Arch
from router.errors import FileError
from router.formats.json_file import read_json_object
from router.formats.quantities import Size

_NAMES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "vocab": ("vocab_size", "padded_vocab_size"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim",),
    "intermediate": ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token"),
}
_BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "float8_e4m3fn": 8.0, "int8": 8.0}
# Without a gate, the feed-forward layers have two matrices.
_UNGATED = frozenset(
    ["bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt", "opt", "phi", "starcoder2"]
)
# Where the file does not say it, transformers gives these an output embedding of their own.
_UNTIED = frozenset(
    ["gpt_neox", "llama", "mistral", "mixtral", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"]
)
# Their layers have parts that this module does not know: the estimate would be wrong without a sign of it.
_UNKNOWN_PARTS: Mapping[str, str] = {
    "kv_lora_rank": "latent attention",
    "shared_expert_intermediate_size": "a shared expert",
    "n_shared_experts": "shared experts",
    "attn_layer_period": "layers of several kinds",
    "layers_block_type": "layers of several kinds",
    "hybrid_override_pattern": "layers of several kinds",
}
_MAMBA = frozenset({"mamba", "falcon_mamba"})


def read_arch(file: Path) -> Arch:
    """The shape in a `config.json`. Raises FileError naming file and key."""
    config = read_json_object(file)
    try:
        return arch_of(config)
    except ValueError as error:
        raise FileError(str(file), None, str(error)) from None


def arch_of(config: Mapping[str, Any]) -> Arch:
    """The shape that a `config.json` describes. Raises ValueError naming the key that is missing, wrong or unknown."""
    of_text = config.get("text_config")
    inner = {**config, **of_text} if isinstance(of_text, Mapping) else config
    for key, part in _UNKNOWN_PARTS.items():
        if inner.get(key):
            raise ValueError(
                f"{key}: the model has {part}, whose size does not follow from the file; write `arch` by hand"
            )
    kind = str(inner.get("model_type", ""))
    common: dict[str, Any] = {"bits": _bits(config, inner), "tied": _is_tied(inner, kind)}
    if kind in _MAMBA:
        return _mamba(inner, **common)
    facts: dict[str, Any] = {name: found for name in _NAMES if (found := _count(inner, name)) is not None}
    missing = next((name for name in ("layers", "hidden", "vocab", "heads") if name not in facts), None)
    if missing is not None:
        raise ValueError(f"{_NAMES[missing][0]}: is missing; is this the config.json of a language model?")
    if facts.get("experts", 1) > 1 and "experts_per_token" not in facts:
        raise ValueError(f"{_NAMES['experts_per_token'][0]}: is missing beside the number of experts")
    if facts.get("experts", 1) == 1:
        facts.pop("experts_per_token", None)
    facts.setdefault("intermediate", 4 * facts["hidden"])
    if inner.get("multi_query"):
        facts.setdefault("kv_heads", 1)
    return Arch(**facts, gated=kind not in _UNGATED, **common)


def _mamba(config: Mapping[str, Any], *, bits: float, tied: bool) -> Arch:
    """A model of selective state spaces: no KV cache, and a state that does not grow."""
    layers, hidden, vocab = (_required(config, name) for name in ("layers", "hidden", "vocab"))
    inner = _positive(config, "intermediate_size") or 2 * hidden
    state, kernel = _positive(config, "state_size") or 16, _positive(config, "conv_kernel") or 4
    rank = config.get("time_step_rank", "auto")
    rank = -(-hidden // 16) if rank == "auto" else _positive(config, "time_step_rank") or 1
    of_layer = 3 * hidden * inner + inner * (kernel + rank + 2 * state) + inner * (rank + state + 2)
    kept = int(layers * inner * (state + kernel) * max(bits, 16) / 8)
    parameters = Size(float(layers * of_layer))
    shape: dict[str, Any] = {"layers": layers, "hidden": hidden, "vocab": vocab, "attention_layers": 0}
    return Arch(**shape, state_bytes=kept, layer_parameters=parameters, bits=bits, tied=tied)


def _required(config: Mapping[str, Any], name: str) -> int:
    found = _count(config, name)
    if found is None:
        raise ValueError(f"{_NAMES[name][0]}: is missing")
    return found


def _count(config: Mapping[str, Any], name: str) -> int | None:
    return next((found for key in _NAMES[name] if (found := _positive(config, key)) is not None), None)


def _positive(config: Mapping[str, Any], key: str) -> int | None:
    """The number under `key`; None where it is missing or null."""
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key}: expected a whole number above 0, got {value!r}")
    return value


def _is_tied(config: Mapping[str, Any], kind: str) -> bool:
    stated = config.get("tie_word_embeddings")
    return bool(stated) if stated is not None else kind not in _UNTIED


def _bits(*configs: Mapping[str, Any]) -> float:
    """Bits per weight: of the quantisation, else of the type of the numbers, else 16."""
    for config in configs:
        quantised = config.get("quantization_config")
        if isinstance(quantised, Mapping):
            if isinstance(bits := quantised.get("bits"), int) and bits > 0:
                return float(bits)
            if quantised.get("load_in_4bit"):
                return 4.0
            return 8.0
    dtype = next(
        (found for each in configs for key in ("torch_dtype", "dtype") if (found := each.get(key))), "bfloat16"
    )
    if dtype not in _BITS:
        raise ValueError(f"torch_dtype: unknown type {dtype!r}; known: {', '.join(_BITS)}")
    return _BITS[dtype]
