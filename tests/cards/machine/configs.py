"""The facts of published `config.json` files."""

from __future__ import annotations

from typing import Any

LLAMA_3_8B: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "vocab_size": 128256,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA_2_7B: dict[str, Any] = {
    **LLAMA_3_8B,
    "vocab_size": 32000,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
}
LLAMA_3_70B: dict[str, Any] = {
    **LLAMA_3_8B,
    "num_hidden_layers": 80,
    "hidden_size": 8192,
    "num_attention_heads": 64,
    "intermediate_size": 28672,
}
MIXTRAL: dict[str, Any] = {
    **LLAMA_3_8B,
    "model_type": "mixtral",
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
MAMBA_130M: dict[str, Any] = {
    "model_type": "mamba",
    "num_hidden_layers": 24,
    "hidden_size": 768,
    "intermediate_size": 1536,
    "vocab_size": 50280,
    "state_size": 16,
    "conv_kernel": 4,
    "time_step_rank": 48,
    "torch_dtype": "float32",
}
