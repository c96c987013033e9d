"""Adapters of many types as peft writes them, and what they change: `python write_peft.py DIR [--logits FOLDED]`.

Needs torch, transformers and peft only, in whatever environment has them. A tiny random Llama gets an adapter of each
type with random weights. `DIR/NAME` is what `save_pretrained` wrote. Where it is a product of small matrices,
`DIR/NAME/expected.safetensors` has the change of each module by peft's own forward: its outputs for the identity, less
those of the base's module, in float64, rounded to float32. `DIR/expected.json` has the number of trained values.

With `--logits FOLDED`, nothing is written: the largest difference between the logits under `DIR/NAME` and under
`FOLDED/NAME` is printed for each name, relative to the largest change.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 32,
    "max_position_embeddings": 64,
}
TARGETS = ["q_proj", "k_proj", "down_proj"]
NAME = "example/Tiny-Llama"

# By name: the type, and its keys. `r` and the sizes of blocks suit the tiny model.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LORA", {"r": 4, "lora_alpha": 8}),
    "lora-seven": (
        "LORA",
        {
            "r": 2,
            "lora_alpha": 8,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        },
    ),
    "lora-embeddings": ("LORA", {"r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens", "lm_head"]}),
    "rslora": ("LORA", {"r": 4, "lora_alpha": 8, "use_rslora": True}),
    "patterns": (
        "LORA",
        {"r": 4, "lora_alpha": 8, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 32}},
    ),
    "rslora-patterns": (
        "LORA",
        {"r": 4, "lora_alpha": 8, "use_rslora": True, "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"q_proj": 2}},
    ),
    "dora": ("LORA", {"r": 4, "lora_alpha": 8, "use_dora": True}),
    "pissa": ("LORA", {"r": 4, "lora_alpha": 4, "init_lora_weights": "pissa"}),
    "olora": ("LORA", {"r": 4, "lora_alpha": 4, "init_lora_weights": "olora"}),
    "bias": ("LORA", {"r": 4, "lora_alpha": 8, "lora_bias": True}),
    "adalora": ("ADALORA", {"init_r": 4, "target_r": 2, "lora_alpha": 8, "total_step": 10, "tinit": 1, "tfinal": 1}),
    "loha": ("LOHA", {"r": 2, "alpha": 4}),
    "lokr": ("LOKR", {"r": 2, "alpha": 4}),
    "lokr-both": ("LOKR", {"r": 2, "alpha": 4, "decompose_both": True, "decompose_factor": 4}),
    "vera": ("VERA", {"r": 4, "d_initial": 0.5}),
    "vera-unsaved": ("VERA", {"r": 4, "save_projection": False}),
    "ia3": ("IA3", {"feedforward_modules": ["down_proj"]}),
    "oft": ("OFT", {"oft_block_size": 4}),
    "boft": ("BOFT", {"boft_block_size": 4}),
    "hra": ("HRA", {"r": 4}),
    "miss": ("MISS", {"r": 4}),
    "fourierft": ("FOURIERFT", {"n_frequency": 12}),
    "vblora": ("VBLORA", {"r": 2, "vector_length": 4, "num_vectors": 16}),
    "randlora": ("RANDLORA", {"r": 4}),
    "delora": ("DELORA", {"r": 4}),
    "gralora": ("GRALORA", {"r": 4, "gralora_k": 2}),
    "shira": ("SHIRA", {"r": 2}),
    "ln-tuning": ("LN_TUNING", {"target_modules": ["input_layernorm"]}),
    "trainable-tokens": ("TRAINABLE_TOKENS", {"target_modules": ["embed_tokens"], "token_indices": [1, 2]}),
    "prompt-tuning": ("PROMPT_TUNING", {"num_virtual_tokens": 4}),
    "p-tuning": ("P_TUNING", {"num_virtual_tokens": 4}),
    "prefix-tuning": ("PREFIX_TUNING", {"num_virtual_tokens": 4}),
}
# Those whose change of a weight is a product of small matrices.
PRODUCTS = (
    "lora", "lora-seven", "lora-embeddings", "rslora", "patterns", "rslora-patterns", "adalora", "loha", "lokr",
    "lokr-both", "vera",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--logits", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.logits is not None:
        differences = {
            folder.name: difference(arguments.folder / folder.name, folder)
            for folder in sorted(arguments.logits.iterdir())
        }
        print(json.dumps(differences))
        return
    base().save_pretrained(arguments.folder / "base")
    trained = {name: written(arguments.folder / name, name) for name in KINDS}
    (arguments.folder / "expected.json").write_text(json.dumps(trained, indent=2) + "\n", encoding="utf-8")


def base() -> Any:
    """The tiny model, the same at each call."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)).eval()


def written(folder: Path, name: str) -> int:
    """Write one adapter and what it changes, and return the number of values that `save_pretrained` has to store."""
    peft_type, keys = KINDS[name]
    config = next(made for kind, made in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items() if str(kind.value) == peft_type)
    if "target_modules" in config.__dataclass_fields__:
        keys = {"target_modules": TARGETS, **keys}
    torch.manual_seed(1)
    model = peft.get_peft_model(base(), config(task_type="CAUSAL_LM", base_model_name_or_path=NAME, **keys))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for values in model.parameters():
            if values.requires_grad:
                values.add_(0.3 * torch.randn(values.shape, generator=generator))
    model.eval().peft_config["default"].base_model_name_or_path = NAME
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    if name in PRODUCTS:
        save_file(changes(model), folder / "expected.safetensors")
    return sum(values.numel() for values in peft.get_peft_model_state_dict(model, save_embedding_layers=False).values())


def changes(model: Any) -> dict[str, torch.Tensor]:
    """By module: the change of its weight, outputs × inputs, by its own forward in float64."""
    model.double()
    found = {}
    for name, module in model.named_modules():
        below = getattr(module, "base_layer", None)
        if below is None or not hasattr(module, "active_adapters"):
            continue
        with torch.no_grad():
            if isinstance(below, torch.nn.Embedding):
                inputs = torch.arange(below.num_embeddings)
            else:
                inputs = torch.eye(below.in_features, dtype=torch.float64)
            # A bias is the same for all inputs, and is taken off.
            zero = 0 if inputs.ndim == 1 else module(torch.zeros_like(inputs[:1]))
            found[name.removeprefix("base_model.model.")] = (
                (module(inputs) - zero - below(inputs)).T.float().contiguous()
            )
    return found


def difference(one: Path, other: Path) -> float:
    """The largest difference of logits between two adapters, relative to the largest change that the first makes."""
    tokens = torch.arange(24)[None] % SIZES["vocab_size"]
    with torch.no_grad():
        plain = base()(tokens).logits
        first, second = (peft.PeftModel.from_pretrained(base(), str(folder))(tokens).logits for folder in (one, other))
    return float((first - second).abs().max() / (first - plain).abs().max())


if __name__ == "__main__":
    main()
