"""The dialects of servers: one row each. A new server, or a field that one rejects, is a change of this table.

Sources: the servers' API references, and the errors that they send.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from router.wire.dialect.rules import Dialect
from router.wire.effort import THINKING_OFF


class Server(Struct, frozen=True):
    """A dialect, and where it is spoken: at `hosts` and their subdomains, and by `providers` of cards."""

    dialect: Dialect
    hosts: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


_AUDIO = frozenset({"audio", "audio_embeds", "audio_url", "input_audio"})
_VIDEO = frozenset({"video", "video_url"})
_OTHER_VENDORS = frozenset({"document_url", "guarded_text", "image_embeds", "reference"})
_TEXT_AND_IMAGES_ONLY = _AUDIO | _VIDEO | _OTHER_VENDORS | {"file"}
_NO_REASONING: frozenset[str] = frozenset()
# Sampling and switches that only open servers know.
_OPEN_SERVERS = frozenset(
    {
        "chat_template_kwargs",
        "enable_thinking",
        "include_reasoning",
        "min_p",
        "reasoning",
        "reasoning_format",
        "repetition_penalty",
        "thinking",
        "thinking_budget",
        "top_k",
    }
)
# Fields of OpenAI's own service, which others do not have.
_OPENAI_SERVICE = frozenset(
    {
        "audio",
        "metadata",
        "modalities",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "verbosity",
        "web_search_options",
    }
)
_COMMON = frozenset(
    {
        "response_format",
        "stop",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
    }
)
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_PENALTIES = frozenset({"frequency_penalty", "presence_penalty"})

_OPENAI = Dialect(
    name="OpenAI",
    rejects=_OPEN_SERVERS,
    longest={"stop": 4, "user": 64, "safety_identifier": 64, "prompt_cache_key": 64},
    output_limit="max_completion_tokens",
    refused_parts=_VIDEO | _OTHER_VENDORS | {"audio", "audio_embeds", "audio_url"},
    developer=True,
    cache_control=False,
    call_id=r".{1,40}",
    call_id_characters=40,
    reasoning_fields=_NO_REASONING,
)
_VLLM = Dialect(name="vLLM", system="leading", reasoning_fields=frozenset({"reasoning", "reasoning_content"}))

SERVERS: Mapping[str, Server] = {
    "openai": Server(_OPENAI, ("api.openai.com",)),
    "azure": Server(
        msgspec.structs.replace(_OPENAI, name="Azure OpenAI"),
        ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"),
        ("azure",),
    ),
    "anthropic": Server(
        Dialect(
            name="Anthropic",
            accepts=_COMMON
            | {"parallel_tool_calls", "reasoning_effort", "thinking", "top_k", "user"}
            | {"web_search_options"},
            bounds={"temperature": (0, 1)},
            refused_parts=_AUDIO | _VIDEO | _OTHER_VENDORS,
            file_ids=False,
            empty_texts=False,
            call_id=r"[a-zA-Z0-9_-]+",
            call_id_characters=40,
            reasoning_fields=frozenset({"thinking_blocks"}),
            signs_thinking=True,
        ),
        providers=("anthropic",),
    ),
    "bedrock": Server(
        Dialect(
            name="Bedrock",
            refused_parts=_AUDIO | _OTHER_VENDORS,
            file_ids=False,
            empty_texts=False,
            call_id=r"[a-zA-Z0-9_-]{1,64}",
            call_id_characters=40,
            reasoning_fields=frozenset({"thinking_blocks"}),
        ),
        providers=("bedrock", "bedrock_converse"),
    ),
    "gemini_openai": Server(
        Dialect(
            name="Gemini",
            accepts=_COMMON | {"n", "parallel_tool_calls", "reasoning_effort"},
            longest={"stop": 5},
            refused_parts=_VIDEO | _OTHER_VENDORS | {"audio", "audio_embeds", "audio_url", "file"},
            empty_texts=False,
            cache_control=False,
            reasoning_fields=_NO_REASONING,
            call_fields=frozenset({"extra_content"}),
        ),
        ("generativelanguage.googleapis.com", "aiplatform.googleapis.com"),
    ),
    "gemini": Server(
        Dialect(
            name="Gemini",
            rejects=frozenset({"logit_bias"}),
            empty_texts=False,
            reasoning_fields=frozenset({"provider_specific_fields", "thinking_blocks"}),
            call_fields=frozenset({"extra_content", "provider_specific_fields"}),
        ),
        providers=("gemini", "vertex_ai", "vertex_ai_beta"),
    ),
    "mistral": Server(
        Dialect(
            name="Mistral",
            accepts=_COMMON | _PENALTIES | {"n", "parallel_tool_calls", "prediction", "reasoning_effort", "seed"},
            renames={"seed": "random_seed"},
            bounds={"temperature": (0, 1.5)},
            refused_parts=_VIDEO | {"audio", "audio_embeds", "audio_url", "file", "image_embeds"},
            cache_control=False,
            call_id=r"[a-zA-Z0-9]{9}",
            call_id_characters=9,
            named_turns=False,
            reasoning_fields=_NO_REASONING,
            reasoning_parts=True,
        ),
        ("api.mistral.ai",),
        ("mistral",),
    ),
    "deepseek": Server(
        Dialect(
            name="DeepSeek",
            accepts=_COMMON | _PENALTIES | _LOGPROBS | {"parallel_tool_calls", "reasoning_effort", "thinking"},
            only={"response_format": ("text", "json_object")},
            longest={"stop": 16},
            refused_parts=_TEXT_AND_IMAGES_ONLY | {"image_url"},
            plain_texts=True,
            reasoning_fields=frozenset({"reasoning_content"}),
            requires_reasoning=True,
            thinking_off=THINKING_OFF,
            thinks_with_forced_tool=False,
        ),
        ("api.deepseek.com",),
        ("deepseek",),
    ),
    "moonshot": Server(
        Dialect(
            name="Kimi",
            rejects=_LOGPROBS | {"logit_bias", "seed", "web_search_options", "audio", "modalities"},
            bounds={"temperature": (0, 1)},
            longest={"stop": 5},
            refused_parts=_AUDIO | _OTHER_VENDORS | {"file"},
            empty_texts=False,
            reasoning_fields=frozenset({"reasoning_content"}),
            requires_reasoning=True,
        ),
        ("api.moonshot.ai", "api.moonshot.cn"),
        ("moonshot",),
    ),
    "groq": Server(
        Dialect(
            name="Groq",
            accepts=_COMMON
            | _PENALTIES
            | {"function_call", "functions", "include_reasoning", "n", "parallel_tool_calls", "reasoning_effort"}
            | {"metadata", "reasoning_format", "seed", "service_tier", "store", "user"},
            only={"n": (1,)},
            longest={"stop": 4},
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            cache_control=False,
            named_turns=False,
            reasoning_fields=frozenset({"reasoning"}),
        ),
        ("api.groq.com",),
        ("groq",),
    ),
    "cerebras": Server(
        Dialect(
            name="Cerebras",
            accepts=_COMMON
            | _LOGPROBS
            | {"parallel_tool_calls", "prediction", "reasoning_effort", "seed", "service_tier", "user"},
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            cache_control=False,
            plain_texts=True,
            reasoning_fields=frozenset({"reasoning"}),
        ),
        ("api.cerebras.ai",),
        ("cerebras",),
    ),
    "xai": Server(
        Dialect(
            name="xAI",
            rejects=frozenset(
                {"logit_bias", "metadata", "prompt_cache_key", "store", "verbosity", "modalities", "audio"}
            )
            | _OPEN_SERVERS,
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            reasoning_fields=frozenset({"reasoning_content"}),
        ),
        ("api.x.ai",),
        ("xai",),
    ),
    "cohere": Server(
        Dialect(
            name="Cohere",
            accepts=_COMMON | _PENALTIES | {"n", "reasoning_effort", "seed"},
            only={"n": (1,)},
            bounds={"temperature": (0, 1), "frequency_penalty": (0, 1), "presence_penalty": (0, 1)},
            longest={"stop": 5},
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            file_ids=False,
            cache_control=False,
            reasoning_fields=_NO_REASONING,
        ),
        ("api.cohere.ai", "api.cohere.com"),
        ("cohere", "cohere_chat"),
    ),
    "together": Server(
        Dialect(
            name="Together",
            rejects=_OPENAI_SERVICE,
            refused_parts=_OTHER_VENDORS | {"audio", "file", "input_audio"},
            reasoning_fields=frozenset({"reasoning", "reasoning_content"}),
        ),
        ("api.together.xyz", "api.together.ai"),
        ("together_ai",),
    ),
    "fireworks": Server(
        Dialect(
            name="Fireworks",
            rejects=(_OPENAI_SERVICE - {"prediction"}) | {"enable_thinking"},
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            cache_control=False,
            reasoning_fields=frozenset({"reasoning_content"}),
        ),
        ("api.fireworks.ai",),
        ("fireworks_ai",),
    ),
    "openrouter": Server(
        Dialect(
            name="OpenRouter",
            refused_parts=_OTHER_VENDORS,
            reasoning_fields=frozenset({"reasoning", "reasoning_content", "reasoning_details"}),
        ),
        ("openrouter.ai",),
        ("openrouter",),
    ),
    "dashscope": Server(
        Dialect(
            name="DashScope",
            rejects=frozenset({"logit_bias", "store", "prompt_cache_key", "verbosity", "web_search_options"}),
            system="leading",
            refused_parts=_OTHER_VENDORS | {"file"},
            reasoning_fields=frozenset({"reasoning_content"}),
            thinking_off={"enable_thinking": False},
            thinks_with_forced_tool=False,
        ),
        ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"),
        ("dashscope",),
    ),
    "perplexity": Server(
        Dialect(
            name="Perplexity",
            rejects=_LOGPROBS | {"logit_bias", "n", "parallel_tool_calls", "seed", "store", "tool_choice", "tools"},
            system="leading",
            alternating=True,
            refused_parts=_AUDIO | _VIDEO | _OTHER_VENDORS,
            file_ids=False,
            reasoning_fields=_NO_REASONING,
        ),
        ("api.perplexity.ai",),
        ("perplexity",),
    ),
    "zai": Server(
        Dialect(
            name="Z.AI",
            accepts=_COMMON | {"thinking"},
            bounds={"temperature": (0, 1)},
            only={"response_format": ("text", "json_object"), "tool_choice": ("auto",)},
            longest={"stop": 1},
            refused_parts=_AUDIO | _OTHER_VENDORS | {"file"},
            reasoning_fields=frozenset({"reasoning_content"}),
        ),
        ("api.z.ai", "open.bigmodel.cn"),
        ("zai",),
    ),
    "vllm": Server(_VLLM, providers=("hosted_vllm", "vllm")),
    "sglang": Server(
        Dialect(name="SGLang", system="leading", reasoning_fields=frozenset({"reasoning_content"})),
    ),
    "llamacpp": Server(
        Dialect(
            name="llama.cpp",
            rejects=frozenset({"audio", "modalities", "web_search_options"}),
            renames={"repetition_penalty": "repeat_penalty"},
            only={"n": (1,)},
            system="leading",
            refused_parts=_VIDEO | _OTHER_VENDORS | {"audio", "audio_embeds", "audio_url", "file"},
            reasoning_fields=frozenset({"reasoning_content"}),
        ),
        providers=("llamafile",),
    ),
    "ollama": Server(
        Dialect(
            name="Ollama",
            rejects=frozenset({"audio", "logit_bias", "modalities", "web_search_options"}),
            only={"n": (1,)},
            system="leading",
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            reasoning_fields=frozenset({"reasoning"}),
        ),
        providers=("ollama", "ollama_chat"),
    ),
    "lm_studio": Server(
        Dialect(
            name="LM Studio",
            rejects=_LOGPROBS | {"audio", "modalities", "web_search_options"},
            renames={"repetition_penalty": "repeat_penalty"},
            only={"n": (1,)},
            system="leading",
            refused_parts=_TEXT_AND_IMAGES_ONLY,
            reasoning_fields=frozenset({"reasoning", "reasoning_content"}),
        ),
        providers=("lm_studio",),
    ),
    # Servers that are not in this table: self-hosted ones mostly, whose chat templates want one leading system message.
    "openai_compatible": Server(Dialect(system="leading")),
    # Providers that litellm converts to. What they reject is known to litellm only, which the call reads.
    "litellm": Server(
        Dialect(
            name="this provider",
            refused_parts=_AUDIO | _VIDEO | _OTHER_VENDORS,
            file_ids=False,
            empty_texts=False,
        )
    ),
}
