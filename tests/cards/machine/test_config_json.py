"""The shape of a model from its `config.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.cards.machine.config_json import arch_of, read_arch
from router.cards.machine.facts import GIB, Arch
from router.errors import FileError
from router.formats.quantities import read_quantity, write_quantity
from tests.cards.machine.configs import LLAMA_2_7B, LLAMA_3_8B, LLAMA_3_70B, MAMBA_130M, MIXTRAL


@pytest.mark.parametrize(
    ("config", "layer_parameters", "active", "weights_gib"),
    [
        (LLAMA_3_8B, 6.979e9, 6.979e9, 14.96),
        (LLAMA_2_7B, 6.476e9, 6.476e9, 12.55),
        (LLAMA_3_70B, 68.45e9, 68.45e9, 131.4),
        (MIXTRAL, 46.44e9, 12.62e9, 87.0),
        (MAMBA_130M, 90.5e6, 90.5e6, 0.481),
    ],
)
def test_the_weights_follow_from_the_shape(
    config: dict[str, Any], layer_parameters: float, active: float, weights_gib: float
) -> None:
    arch = arch_of(config)
    assert arch.parameters.total == pytest.approx(layer_parameters, rel=0.002)
    assert arch.parameters.active == pytest.approx(active, rel=0.002)
    assert arch.weight_bytes / GIB == pytest.approx(weights_gib, rel=0.002)


def test_the_cache_of_a_token_follows_from_the_shape() -> None:
    assert arch_of(LLAMA_3_8B).kv_bytes_per_token == 2 * 32 * 8 * 128 * 2
    assert arch_of({**LLAMA_3_8B, "head_dim": 64}).kv_bytes_per_token == 2 * 32 * 8 * 64 * 2


def test_a_state_space_model_has_a_state_and_no_cache() -> None:
    arch = arch_of(MAMBA_130M)
    assert (arch.kv_bytes_per_token, arch.attention_flops) == (0, 0)
    assert arch.state_bytes == 24 * 1536 * (16 + 4) * 4


def test_older_names_and_two_matrices_are_understood() -> None:
    gpt2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_inner": None}
    arch = arch_of(gpt2)
    assert (arch.gated, arch.tied, arch.intermediate) == (False, True, 3072)
    assert arch.parameters.total == pytest.approx(84.9e6, rel=0.001)


def test_the_language_model_of_a_model_that_sees_is_read() -> None:
    assert arch_of({"model_type": "llava", "text_config": LLAMA_3_8B}) == arch_of(LLAMA_3_8B)


@pytest.mark.parametrize(
    ("facts", "bits"),
    [
        ({}, 16),
        ({"torch_dtype": "float32"}, 32),
        ({"torch_dtype": None, "dtype": "float16"}, 16),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, 4),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, 4),
        ({"quantization_config": {"quant_method": "fp8"}}, 8),
    ],
)
def test_the_bits_of_a_weight_are_those_of_the_quantisation_or_type(facts: dict[str, Any], bits: float) -> None:
    assert arch_of({**LLAMA_3_8B, **facts}).bits == bits


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers: is missing"),
        ({"hidden_size": "4096"}, "hidden_size: expected a whole number above 0, got '4096'"),
        ({"torch_dtype": "bf17"}, "torch_dtype: unknown type 'bf17'"),
        ({"num_local_experts": 8}, "num_experts_per_tok: is missing"),
        ({"kv_lora_rank": 512}, "kv_lora_rank: the model has latent attention"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_file_and_key(tmp_path: Path, facts: dict[str, Any], problem: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**LLAMA_3_8B, **facts}), encoding="utf-8")
    with pytest.raises(FileError) as caught:
        read_arch(file)
    assert str(caught.value).startswith(f"{file}: {problem}")


@pytest.mark.parametrize("content", ["[]", "{", "\xff"])
def test_a_file_that_is_no_config_is_an_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(FileError, match=r"config\.json"):
        read_arch(file)


@pytest.mark.parametrize("config", [LLAMA_3_8B, MIXTRAL, MAMBA_130M])
def test_a_printed_shape_is_read_back_equal(config: dict[str, Any]) -> None:
    arch = arch_of(config)
    plain = msgspec.to_builtins(arch, enc_hook=write_quantity)
    assert msgspec.convert(plain, Arch, dec_hook=read_quantity) == arch
