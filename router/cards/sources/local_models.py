"""Cards from what model servers report about their models: Ollama, llama.cpp, vLLM, LM Studio.

Each function returns the keys and values of a card's YAML, or None for a model that writes no text. A fact that the
server does not report is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from router.formats import units

Report = Mapping[str, Any]
Facts = dict[str, Any]

# The first that occurs in a name is the family: derived models name their base, too (llama-3.1-nemotron).
_FAMILIES = {
    "nemotron": "nemotron",
    "deepseek": "deepseek",
    "gpt-?oss": "gpt-oss",
    "chatqa": "chatqa",
    "smollm": "smollm",
    "mi(?:s|x)tral|ministral|magistral|devstral|codestral|mathstral": "mistral",
    "llama": "llama",
    "qwen|qwq": "qwen",
    "gemma": "gemma",
    r"\bphi": "phi",
    "command": "command",
    "granite": "granite",
    "jamba": "jamba",
    "openchat": "openchat",
    "olmo": "olmo",
    "falcon": "falcon",
    r"\bglm": "glm",
}
_BILLIONS = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z0-9])")
_MILLIONS = re.compile(r"(?<![a-z0-9.])(\d{2,3})m(?![a-z0-9])")
_ACTIVE_BILLIONS = re.compile(r"(?<![a-z0-9])a(\d+(?:\.\d+)?)b(?![a-z0-9])")
_NUM_CTX = re.compile(r"^num_ctx\s+(\d+)\s*$", re.MULTILINE)
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._:+-]+")
_MAX_ID_CHARACTERS = 120


def ollama_facts(tag: Report, show: Report) -> Facts | None:
    """The card of one model in the answer to `/api/tags`, with the answer to `/api/show` about it.

    `context` is the `num_ctx` that the model sets, else the model's own: Ollama may be run with a smaller one. Models
    that Ollama runs in its cloud are public, and have no price.
    """
    name = str(tag["name"])
    details = {**_mapping(tag.get("details")), **_mapping(show.get("details"))}
    architecture = _mapping(show.get("model_info"))
    reported = show.get("capabilities", tag.get("capabilities"))
    words = reported if isinstance(reported, list) else None
    if words is not None and "completion" not in words:
        return None
    is_remote = bool(tag.get("remote_host") or show.get("remote_host"))
    family = str(architecture.get("general.architecture") or details.get("family") or "")
    set_context = _NUM_CTX.search(show["parameters"]) if isinstance(show.get("parameters"), str) else None
    own_context = architecture.get(f"{family}.context_length", details.get("context_length"))
    return _facts(
        name.removesuffix(":latest"),
        provider="ollama",
        model=name,
        family=_family(name, family),
        size=_size(architecture.get("general.parameter_count") or details.get("parameter_size"), name),
        context=_tokens(set_context[1] if set_context else own_context),
        modalities=["text", "image"] if words is not None and "vision" in words else None,
        capabilities=None
        if words is None
        else _chosen({"tools": "tools", "thinking": "reasoning"}, words, "json_schema"),
        description=_quantized(details.get("quantization_level"), "Ollama"),
        is_remote=is_remote,
        tag="ollama",
        source="Ollama: /api/tags and /api/show",
    )


def llama_cpp_facts(entry: Report, props: Report) -> Facts | None:
    """The card of one model in the answer to llama.cpp's `/v1/models`, with the answer to `/props`."""
    name = str(entry["id"])
    meta = _mapping(entry.get("meta"))
    outputs = _mapping(entry.get("architecture")).get("output_modalities")
    if isinstance(outputs, list) and "text" not in outputs:
        return None
    template = _mapping(props.get("chat_template_caps"))
    supported = [word for word, value in template.items() if value]
    modalities = _mapping(props.get("modalities"))
    senses = [
        word for key, word in (("vision", "image"), ("audio", "audio"), ("video", "video")) if modalities.get(key)
    ]
    known = {
        "supports_tools": "tools",
        "supports_parallel_tool_calls": "parallel_tools",
        "supports_reasoning_effort": "reasoning",
    }
    file = re.split(r"[/\\]", name)[-1].removesuffix(".gguf")
    return _facts(
        file,
        provider="hosted_vllm",
        model=name,
        family=_family(file, ""),
        size=_size(meta.get("n_params"), file),
        context=_tokens(_mapping(props.get("default_generation_settings")).get("n_ctx") or meta.get("n_ctx")),
        modalities=["text", *senses] if senses else None,
        capabilities=_chosen(known, supported, "json_schema", "logprobs") if template else None,
        description=_quantized(props.get("model_ftype") or meta.get("ftype"), "llama.cpp"),
        tag="llama.cpp",
        source="llama.cpp: /v1/models and /props",
    )


def vllm_facts(entry: Report, parent: Facts | None = None) -> Facts:
    """The card of one model in the answer to vLLM's `/v1/models`; `parent` is the base model's, where it is an adapter.

    vLLM does not report whether it was started with support for tools.
    """
    name = str(entry["id"])
    facts = _facts(
        name.rpartition("/")[2],
        provider="hosted_vllm",
        model=name,
        family=_family(name, ""),
        size=_size(None, name),
        context=_tokens(entry.get("max_model_len")),
        capabilities=["json_schema", "logprobs", "multiple_choices"],
        tag="vllm",
        source="vLLM: /v1/models",
    )
    if parent is None:
        return facts
    inherited: Facts = {fact: parent[fact] for fact in ("family", "size", "context") if fact in parent}
    return {**facts, **inherited, "kind": "adapter", "base": parent["id"]}


def lm_studio_facts(entry: Report) -> Facts | None:
    """The card of one model in the answer to LM Studio's `/api/v0/models`."""
    name, kind = str(entry["id"]), entry.get("type")
    if kind not in ("llm", "vlm", None):
        return None
    words = entry.get("capabilities")
    return _facts(
        name.rpartition("/")[2],
        provider="lm_studio",
        model=name,
        family=_family(name, str(entry.get("arch") or "")),
        size=_size(None, name),
        context=_tokens(entry.get("loaded_context_length") or entry.get("max_context_length")),
        modalities=["text", "image"] if kind == "vlm" else None,
        capabilities=_chosen({"tool_use": "tools"}, words, "json_schema") if isinstance(words, list) else None,
        description=_quantized(entry.get("quantization"), "LM Studio"),
        tag="lm-studio",
        source="LM Studio: /api/v0/models",
    )


def listed_facts(entry: Report) -> Facts:
    """The card of a model of which only the name is known."""
    name = str(entry["id"])
    base = name.rpartition("/")[2]
    family, size = _family(name, ""), _size(None, name)
    return _facts(base, provider="hosted_vllm", model=name, family=family, size=size, source="the server's /v1/models")


def _facts(id_: str, *, tag: str | None = None, is_remote: bool = False, **facts: Any) -> Facts:
    where = {"privacy": "public"} if is_remote else {}
    tags = {"tags": [tag]} if tag else {}
    clean = _NOT_IN_IDS.sub("-", id_.lower()).strip("-._:+")[:_MAX_ID_CHARACTERS]
    return {"id": clean or "model", **{fact: value for fact, value in facts.items() if value}, **where, **tags}


def _mapping(value: Any) -> Report:
    return value if isinstance(value, Mapping) else {}


def _chosen(known: Mapping[str, str], words: list[Any], *always: str) -> list[str]:
    """The capabilities that the server's `words` stand for, and those that the server always has."""
    return [*(capability for word, capability in known.items() if word in words), *always]


def _family(name: str, architecture: str) -> str | None:
    for text in (name.lower(), architecture.lower()):
        for pattern, family in _FAMILIES.items():
            if re.search(pattern, text):
                return family
    return architecture or None


def _size(reported: Any, name: str) -> Any:
    """The number of parameters as reported, else as in the name; with the active ones where the name has them."""
    lowered = name.lower()
    total = _parameters(reported)
    if total is None and (billions := _BILLIONS.search(lowered)):
        total = float(billions[1]) * 1e9
    if total is None and (millions := _MILLIONS.search(lowered)):
        total = float(millions[1]) * 1e6
    if total is None:
        return None
    shown = units.show_parameters(total)
    active = _ACTIVE_BILLIONS.search(lowered)
    return shown if active is None else {"total": shown, "active": f"{active[1]}B"}


def _parameters(reported: Any) -> float | None:
    try:
        count = units.parameters(reported) if isinstance(reported, str) else float(reported or 0)
    except (ValueError, TypeError):
        return None
    return count if count >= 1 else None


def _tokens(reported: Any) -> str | int | None:
    try:
        count = int(reported)
    except (ValueError, TypeError):
        return None
    if count < 1:
        return None
    return units.show_tokens(count) if count % 1000 == 0 else count


def _quantized(level: Any, server: str) -> str | None:
    return f"{level} on {server}" if isinstance(level, str) and level and level != "unknown" else None
