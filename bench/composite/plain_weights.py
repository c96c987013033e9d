"""Write a llama model in GGUF as a folder of safetensors, which vLLM and transformers read:
`python plain_weights.py MODEL.gguf FOLDER`.

Needs the packages gguf, safetensors, torch and transformers. Quantised weights become bfloat16.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

_OF_LAYERS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OTHERS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


def convert(file: Path, folder: Path) -> int:
    """Write the model, its configuration and its tokenizer, and return the number of tensors."""
    reader = gguf.GGUFReader(str(file))

    def stated(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    heads, kv_heads = stated("attention.head_count"), stated("attention.head_count_kv")
    tensors: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        found = _LAYER.fullmatch(tensor.name)
        if found is None:
            name = _OTHERS[tensor.name.removesuffix(".weight")]
        else:
            name = f"model.layers.{found[1]}.{_OF_LAYERS[found[2]]}"
            if found[2] in ("attn_q", "attn_k"):
                weights = _in_order_of_transformers(weights, heads if found[2] == "attn_q" else kv_heads)
        tensors[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(weights)).to(torch.bfloat16)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": stated("embedding_length"),
        "intermediate_size": stated("feed_forward_length"),
        "num_hidden_layers": stated("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": stated("context_length"),
        "rms_norm_eps": float(stated("attention.layer_norm_rms_epsilon")),
        "rope_theta": float(stated("rope.freq_base")),
        "vocab_size": len(tensors["model.embed_tokens.weight"]),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "bos_token_id": reader.fields["tokenizer.ggml.bos_token_id"].contents(),
        "eos_token_id": reader.fields["tokenizer.ggml.eos_token_id"].contents(),
        "hidden_act": "silu",
        "dtype": "bfloat16",
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return len(tensors)


def _in_order_of_transformers(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """The rows of a query or key projection, which llama.cpp stores in pairs that its rotary embedding turns."""
    paired = weights.reshape(heads, len(weights) // heads // 2, 2, *weights.shape[1:])
    return paired.swapaxes(1, 2).reshape(weights.shape)


if __name__ == "__main__":
    print(convert(Path(sys.argv[1]), Path(sys.argv[2])), "tensors")
