from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.adapters.base import Base, read_base
from router.adapters.delta import NotLowRankError
from router.adapters.folder import read_adapter
from router.adapters.formats.to_gguf import ARCHITECTURES, base_of, convert
from router.adapters.safetensors import read_header, read_tensor
from router.errors import CallerError, ConfigurationError, FileError, MissingExtraError
from tests.adapters import folders
from tests.adapters.folders import Made, all_kinds, write_adapter

gguf = pytest.importorskip("gguf")

WRITTEN = Path(__file__).parent / "peft"
HEADS = {"q_proj": 2, "k_proj": 1}
NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
    "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip
Tensors = dict[str, np.ndarray[Any, Any]]


def read(file: Path) -> tuple[dict[str, Any], Tensors]:
    """The keys and the tensors of a GGUF file, rows × columns."""
    reader = gguf.GGUFReader(file)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    return keys, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


def changes(file: Path) -> Tensors:
    """ΔW by llama.cpp's name, as llama.cpp computes it: alpha / rank · B · A, with the rank of B's columns."""
    keys, tensors = read(file)
    found = {}
    for name in {name.rpartition(".")[0] for name in tensors}:
        down, up = tensors[f"{name}.lora_a"].astype(float), tensors[f"{name}.lora_b"].astype(float)
        found[name] = keys["adapter.lora.alpha"] / up.shape[1] * up @ (down.T if "token_embd" in name else down)
    return found


def in_rotary_order(change: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Row by row: the two that rotate together, i and i + half of a head, one after the other."""
    size = len(change) // heads
    rows = [head * size + i + half for head in range(heads) for i in range(size // 2) for half in (0, size // 2)]
    return change[rows]


@pytest.mark.parametrize(
    "name",
    ["lora", "lora-seven", "rslora", "patterns", "rslora-patterns", "adalora", "loha", "lokr", "lokr-both", "vera"],
)
def test_llama_cpp_computes_the_change_that_peft_computes(tmp_path: Path, name: str) -> None:
    convert(read_adapter(WRITTEN / name), tmp_path / "a.gguf", read_base(WRITTEN / "base"))
    found = changes(tmp_path / "a.gguf")
    expected = WRITTEN / name / "expected.safetensors"
    for module, tensor in read_header(expected).items():
        change, kind = read_tensor(expected, tensor), module.rpartition(".")[2]
        if kind in HEADS:
            change = in_rotary_order(change, HEADS[kind])
        layer = module.split(".")[2]
        difference = found.pop(f"blk.{layer}.{NAMES[kind]}.weight") - change
        assert np.max(np.abs(difference)) <= 1e-6 * np.max(np.abs(change))
    assert found == {}


def test_embeddings_and_the_output_layer_are_converted(tmp_path: Path) -> None:
    convert(read_adapter(WRITTEN / "lora-embeddings"), tmp_path / "a.gguf", read_base(WRITTEN / "base"))
    _, tensors = read(tmp_path / "a.gguf")
    assert {name: values.shape for name, values in tensors.items()} == {
        "output.weight.lora_a": (2, 16),
        "output.weight.lora_b": (32, 2),
        "token_embd.weight.lora_a": (32, 2),
        "token_embd.weight.lora_b": (16, 2),
    }
    expected = WRITTEN / "lora-embeddings" / "expected.safetensors"
    header, found = read_header(expected), changes(tmp_path / "a.gguf")
    for name, module in (("output", "lm_head"), ("token_embd", "model.embed_tokens")):
        np.testing.assert_allclose(found[f"{name}.weight"], read_tensor(expected, header[module]), atol=1e-6)


@pytest.mark.parametrize(("precision", "size"), [("f32", np.float32), ("f16", np.float16)])
def test_the_values_have_the_stated_precision(tmp_path: Path, precision: Any, size: type) -> None:
    made = convert(read_adapter(WRITTEN / "lora"), tmp_path / "a.gguf", read_base(WRITTEN / "base"), precision)
    keys, tensors = read(tmp_path / "a.gguf")
    assert {values.dtype for values in tensors.values()} == {np.dtype(size)}
    assert (keys["general.architecture"], keys["general.type"], keys["adapter.type"]) == ("llama", "adapter", "lora")
    assert (made.rank, made.alpha, made.tensors, made.bytes) == (4, 8, 12, (tmp_path / "a.gguf").stat().st_size)


def base_of_architecture(tmp_path: Path, **keys: Any) -> Base:
    plain = json.loads((WRITTEN / "base" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**plain, **keys}))
    return read_base(tmp_path)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_llama_and_granite_have_rows_in_rotary_order(tmp_path: Path, architecture: str) -> None:
    base = base_of_architecture(tmp_path, architectures=[architecture])
    convert(read_adapter(WRITTEN / "lora"), tmp_path / "a.gguf", base)
    keys, _ = read(tmp_path / "a.gguf")
    assert keys["general.architecture"] == ARCHITECTURES[architecture]
    expected = WRITTEN / "lora" / "expected.safetensors"
    change = read_tensor(expected, read_header(expected)["model.layers.0.self_attn.q_proj"])
    if ARCHITECTURES[architecture] in ("llama", "granite"):
        change = in_rotary_order(change, 2)
    np.testing.assert_allclose(changes(tmp_path / "a.gguf")["blk.0.attn_q.weight"], change, atol=1e-6)


def test_the_base_may_be_a_gguf_file(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(16)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_tensor("token_embd.weight", np.zeros((32, 16), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    adapter = read_adapter(WRITTEN / "lora-seven")
    convert(adapter, tmp_path / "a.gguf", read_base(tmp_path / "base.gguf"))
    convert(adapter, tmp_path / "b.gguf", read_base(WRITTEN / "base"))
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_the_base_is_the_folder_that_the_adapter_names(tmp_path: Path) -> None:
    settings, tensors, _ = all_kinds()["lora"]
    base = folders.write_base(tmp_path / "base")
    named = write_adapter(tmp_path / "a", ({**settings, "base_model_name_or_path": str(base)}, tensors, {}))
    assert base_of(read_adapter(named)).architecture == "LlamaForCausalLM"


def test_an_unknown_base_is_refused_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"its base example/Tiny-Llama is no folder here, .* give --base DIR"):
        base_of(read_adapter(WRITTEN / "lora"))


@pytest.mark.parametrize(
    ("name", "keys", "problem"),
    [
        ("lora", {"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM is a mixture of experts"),
        ("lora", {"architectures": ["Qwen3MoeForCausalLM"]}, "Qwen3MoeForCausalLM is a mixture of experts"),
        ("lora", {"architectures": ["FalconForCausalLM"]}, "FalconForCausalLM is not one of Gemma2ForCausalLM"),
        ("lora", {"architectures": None}, "states no architecture"),
        ("lora", {"num_hidden_layers": None}, "states no number of layers"),
        ("lora", {"num_hidden_layers": 1}, r"model\.layers\.1\.\S+: llama.cpp's llama of 1 layers has no tensor"),
        ("lora", {"num_attention_heads": None}, "num_attention_heads: is missing"),
        (
            "lora",
            {"num_attention_heads": 3, "head_dim": None, "hidden_size": None},
            "no even number for each of 3 heads",
        ),
        ("lora", {"hidden_size": 20}, "changes a weight of"),
        ("lora-embeddings", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        (
            "lora-embeddings",
            {"architectures": ["GemmaForCausalLM"], "tie_word_embeddings": False},
            "has no tensor for it",
        ),
    ],
)
def test_what_llama_cpp_cannot_load_is_refused_with_the_reason(
    tmp_path: Path, name: str, keys: dict[str, Any], problem: str
) -> None:
    base = base_of_architecture(tmp_path, **keys)
    with pytest.raises(ConfigurationError, match=problem):
        convert(read_adapter(WRITTEN / name), tmp_path / "a.gguf", base)
    assert not (tmp_path / "a.gguf").exists()


def test_adapters_of_experts_are_refused(tmp_path: Path) -> None:
    settings, _, _ = all_kinds()["lora"]
    name = f"{folders.PREFIX}model.layers.0.block_sparse_moe.experts.3.w1.lora_"
    tensors = {f"{name}A.weight": np.ones((4, 16)), f"{name}B.weight": np.ones((16, 4))}
    adapter = read_adapter(write_adapter(tmp_path / "in", (settings, tensors, {})))
    with pytest.raises(ConfigurationError, match="experts of a mixture"):
        convert(adapter, tmp_path / "a.gguf", read_base(WRITTEN / "base"))


def with_first(value: float) -> Made:
    settings, tensors, _ = all_kinds()["lora"]
    next(iter(tensors.values()))[0, 0] = value
    return settings, tensors, {}


def test_a_value_that_f16_cannot_hold_is_refused(tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "in", with_first(1e5)))
    base = read_base(folders.write_base(tmp_path / "base"))
    with pytest.raises(ConfigurationError, match="beyond f16's largest"):
        convert(adapter, tmp_path / "a.gguf", base, "f16")
    convert(adapter, tmp_path / "a.gguf", base, "f32")


def test_dora_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotLowRankError, match="DoRA"):
        convert(read_adapter(WRITTEN / "dora"), tmp_path / "a.gguf", read_base(WRITTEN / "base"))


def test_an_existing_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("mine")
    with pytest.raises(CallerError, match="already exists"):
        convert(read_adapter(WRITTEN / "lora"), tmp_path / "a.gguf", read_base(WRITTEN / "base"))
    assert (tmp_path / "a.gguf").read_text() == "mine"


def test_a_file_that_is_no_gguf_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(b"GGUF" + bytes(3))
    with pytest.raises(FileError, match=r"base\.gguf: is no GGUF file"):
        read_base(tmp_path / "base.gguf")


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'pulvinar\[adapters\]'"):
        convert(read_adapter(WRITTEN / "lora"), tmp_path / "a.gguf", read_base(WRITTEN / "base"))
