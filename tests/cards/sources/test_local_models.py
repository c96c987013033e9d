"""Cards from the answers of model servers. The answers have the shapes of real ones, shortened."""

from __future__ import annotations

from typing import Any

import pytest

from router.cards.sources.local_models import listed_facts, llama_cpp_facts, lm_studio_facts, ollama_facts, vllm_facts

TAG: dict[str, Any] = {
    "name": "llama3.2:latest",
    "model": "llama3.2:latest",
    "modified_at": "2026-10-02T09:12:11.334478912+02:00",
    "size": 2019393189,
    "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
    },
}
SHOW: dict[str, Any] = {
    "license": "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT …",
    "parameters": 'stop                           "<|start_header_id|>"\nstop                           "<|eot_id|>"',
    "details": TAG["details"],
    "model_info": {
        "general.architecture": "llama",
        "general.basename": "Llama-3.2",
        "general.parameter_count": 3212749888,
        "general.size_label": "3B",
        "llama.context_length": 131072,
        "tokenizer.ggml.tokens": None,
    },
    "capabilities": ["completion", "tools"],
}
LLAMA_CPP: dict[str, Any] = {
    "id": "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
    "object": "model",
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "owned_by": "llamacpp",
    "meta": {"n_ctx": 2048, "n_ctx_train": 8192, "n_params": 134515008, "ftype": "Q4_1"},
}
PROPS: dict[str, Any] = {
    "default_generation_settings": {"n_ctx": 2048},
    "total_slots": 1,
    "model_ftype": "Q4_1",
    "modalities": {"vision": True, "audio": False},
    "chat_template_caps": {"supports_tools": True, "supports_parallel_tool_calls": False},
}
VLLM = {
    "id": "Qwen/Qwen2.5-7B-Instruct",
    "object": "model",
    "owned_by": "vllm",
    "root": "Qwen/Qwen2.5-7B-Instruct",
    "parent": None,
    "max_model_len": 32768,
    "permission": [],
}
LM_STUDIO = {
    "id": "qwen2-vl-7b-instruct",
    "object": "model",
    "type": "vlm",
    "publisher": "mlx-community",
    "arch": "qwen2_vl",
    "compatibility_type": "mlx",
    "quantization": "4bit",
    "state": "not-loaded",
    "max_context_length": 32768,
    "capabilities": ["tool_use"],
}


def test_a_model_of_ollama_has_its_size_context_and_capabilities() -> None:
    assert ollama_facts(TAG, SHOW) == {
        "id": "llama3.2",
        "provider": "ollama",
        "model": "llama3.2:latest",
        "family": "llama",
        "size": "3.213B",
        "context": 131072,
        "capabilities": ["tools", "json_schema"],
        "description": "Q4_K_M on Ollama",
        "source": "Ollama: /api/tags and /api/show",
        "tags": ["ollama"],
    }


def test_the_context_that_a_model_of_ollama_sets_is_its_context() -> None:
    facts = ollama_facts(TAG, {**SHOW, "parameters": "num_ctx                        8000\ntemperature 1"})
    assert facts is not None
    assert facts["context"] == "8k"


def test_a_model_of_ollama_that_sees_and_thinks_says_so() -> None:
    facts = ollama_facts(TAG, {**SHOW, "capabilities": ["completion", "vision", "thinking"]})
    assert facts is not None
    assert (facts["modalities"], facts["capabilities"]) == (["text", "image"], ["reasoning", "json_schema"])


def test_a_model_of_ollama_that_only_embeds_gets_no_card() -> None:
    assert ollama_facts(TAG, {**SHOW, "capabilities": ["embedding"]}) is None


def test_where_ollama_reports_no_details_the_listing_and_the_name_are_used() -> None:
    facts = ollama_facts(TAG, {})
    assert facts is not None
    assert (facts["size"], facts["family"]) == ("3.2B", "llama")
    assert not {"context", "capabilities"} & facts.keys()


def test_a_model_in_the_cloud_of_ollama_is_public() -> None:
    tag = {"name": "gpt-oss:120b-cloud", "remote_model": "gpt-oss:120b", "remote_host": "https://ollama.com:443"}
    facts = ollama_facts(tag, {})
    assert facts is not None
    assert (facts["privacy"], facts["size"], facts["family"]) == ("public", "120B", "gpt-oss")


def test_a_model_of_llama_cpp_is_named_after_its_file_and_has_the_context_of_its_slots() -> None:
    assert llama_cpp_facts(LLAMA_CPP, PROPS) == {
        "id": "smollm2-135m-instruct.q4_1",
        "provider": "hosted_vllm",
        "model": "/models/SmolLM2-135M-Instruct.Q4_1.gguf",
        "family": "smollm",
        "size": "134.5M",
        "context": 2048,
        "modalities": ["text", "image"],
        "capabilities": ["tools", "json_schema", "logprobs"],
        "description": "Q4_1 on llama.cpp",
        "source": "llama.cpp: /v1/models and /props",
        "tags": ["llama.cpp"],
    }


def test_without_the_properties_of_llama_cpp_its_capabilities_are_unknown() -> None:
    facts = llama_cpp_facts(LLAMA_CPP, {})
    assert facts is not None
    assert facts["context"] == 2048
    assert "capabilities" not in facts


def test_a_model_of_vllm_has_the_size_in_its_name() -> None:
    assert vllm_facts(VLLM) == {
        "id": "qwen2.5-7b-instruct",
        "provider": "hosted_vllm",
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "family": "qwen",
        "size": "7B",
        "context": 32768,
        "capabilities": ["json_schema", "logprobs", "multiple_choices"],
        "source": "vLLM: /v1/models",
        "tags": ["vllm"],
    }


def test_an_adapter_of_vllm_has_the_facts_of_its_base() -> None:
    adapter = {"id": "sql-lora", "root": "/adapters/sql", "parent": VLLM["id"], "max_model_len": None}
    facts = vllm_facts(adapter, vllm_facts(VLLM))
    assert (facts["kind"], facts["base"], facts["model"]) == ("adapter", "qwen2.5-7b-instruct", "sql-lora")
    assert (facts["size"], facts["context"], facts["family"]) == ("7B", 32768, "qwen")


def test_a_model_of_lm_studio_has_its_modalities_and_the_context_it_is_loaded_with() -> None:
    facts = lm_studio_facts({**LM_STUDIO, "loaded_context_length": 4096})
    assert facts is not None
    assert (facts["id"], facts["provider"], facts["size"]) == ("qwen2-vl-7b-instruct", "lm_studio", "7B")
    assert (facts["context"], facts["modalities"]) == (4096, ["text", "image"])
    assert facts["capabilities"] == ["tools", "json_schema"]


def test_an_embedding_model_of_lm_studio_gets_no_card() -> None:
    assert lm_studio_facts({"id": "text-embedding-nomic-embed-text-v1.5", "type": "embeddings"}) is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen3-30B-A3B", {"total": "30B", "active": "3B"}),
        ("llama3.1:8b", "8B"),
        ("gemma3:27b-it-qat", "27B"),
        ("smollm2:135m", "135M"),
        ("Qwen2.5-7B-Instruct-1M", "7B"),
        ("mixtral-8x7b-instruct", None),
        ("dolphin-4bit", None),
        ("phi-3-mini-4k", None),
    ],
)
def test_a_size_is_read_from_a_name_only_where_the_name_states_one(name: str, size: Any) -> None:
    assert listed_facts({"id": name}).get("size") == size


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("llama-3.1-nemotron-51b", "nemotron"),
        ("DeepSeek-R1-Distill-Llama-8B", "deepseek"),
        ("mixtral-8x7b", "mistral"),
        ("QwQ-32B", "qwen"),
        ("gpt-oss:20b", "gpt-oss"),
        ("my-own-model", None),
    ],
)
def test_the_family_is_read_from_the_name(name: str, family: str | None) -> None:
    assert listed_facts({"id": name}).get("family") == family
