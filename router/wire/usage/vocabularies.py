"""The words in which servers report usage, one row for each vocabulary. A new server is a row here, and no code.

A path is a chain of keys joined by dots. `modality=AUDIO` selects from a list the objects with that value, `0` the
first object.
"""

from __future__ import annotations

from msgspec import Struct

Paths = tuple[str, ...]


class Vocabulary(Struct, frozen=True):
    """The paths of counts in the usage object of some `servers`. What a server does not report has no path.

    `input` counts the whole prompt. With `cache_beside` it leaves out what was read from a cache (`cached`) and written
    to one (`written`, or by duration `written_5m` and `written_1h`). `more_input` is counted beside `input` as well.
    `output` counts the whole answer. With `reasoning_beside` it leaves out `reasoning`; other servers' totals show
    whether it does. `total` is the sum. `cost` is in US dollars. `tier` is the word for how the request was served.
    """

    servers: str
    input: Paths = ()
    output: Paths = ()
    total: Paths = ()
    cached: Paths = ()
    written: Paths = ()
    written_5m: Paths = ()
    written_1h: Paths = ()
    more_input: Paths = ()
    reasoning: Paths = ()
    audio_input: Paths = ()
    audio_output: Paths = ()
    cost: Paths = ()
    tier: Paths = ()
    cache_beside: bool = False
    reasoning_beside: bool = False


COUNTS = (
    "input",
    "output",
    "total",
    "cached",
    "written",
    "written_5m",
    "written_1h",
    "more_input",
    "reasoning",
    "audio_input",
    "audio_output",
)
"""The fields of a vocabulary that are paths of counts of tokens."""

HOLDERS: Paths = (
    "usage",
    "response.usage",
    "message.usage",
    "delta.usage",
    "choices.0.usage",
    "x_groq.usage",
    "usageMetadata",
    "response.usageMetadata",
    "metadata.usage",
    "meta",
    "",
)
"""Where a response or an event has its usage object, in the order in which they are tried. The last is the message
itself, for servers that report counts beside the answer.
"""

TIER_HOLDERS: Paths = ("service_tier", "response.service_tier", "serviceTier.type")
"""Where a response or an event says how the request was served, outside its usage object."""

VOCABULARIES = (
    Vocabulary(
        "OpenAI's chat API and those like it: Azure, vLLM, SGLang, Mistral, Groq, Together, Fireworks, xAI, Gemini",
        input=("prompt_tokens",),
        output=("completion_tokens",),
        total=("total_tokens",),
        cached=("prompt_tokens_details.cached_tokens",),
        written=("prompt_tokens_details.cache_write_tokens",),
        reasoning=("completion_tokens_details.reasoning_tokens",),
        audio_input=("prompt_tokens_details.audio_tokens",),
        audio_output=("completion_tokens_details.audio_tokens",),
    ),
    Vocabulary(
        "OpenAI's Responses API",
        input=("input_tokens",),
        output=("output_tokens",),
        cached=("input_tokens_details.cached_tokens",),
        written=("input_tokens_details.cache_write_tokens",),
        reasoning=("output_tokens_details.reasoning_tokens",),
        audio_input=("input_tokens_details.audio_tokens",),
        audio_output=("output_tokens_details.audio_tokens",),
    ),
    Vocabulary(
        "Anthropic's Messages API",
        input=("input_tokens",),
        output=("output_tokens",),
        cached=("cache_read_input_tokens",),
        written=("cache_creation_input_tokens",),
        written_5m=("cache_creation.ephemeral_5m_input_tokens",),
        written_1h=("cache_creation.ephemeral_1h_input_tokens",),
        reasoning=("output_tokens_details.thinking_tokens",),
        tier=("service_tier",),
        cache_beside=True,
    ),
    Vocabulary(
        "LiteLLM for Claude, in OpenAI's format",
        written=("prompt_tokens_details.cache_creation_tokens",),
        written_5m=("prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens",),
        written_1h=("prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",),
    ),
    Vocabulary("OpenRouter", cost=("cost",)),
    Vocabulary("DeepSeek", cached=("prompt_cache_hit_tokens",)),
    Vocabulary("Moonshot, Cohere", cached=("cached_tokens",)),
    Vocabulary("Mistral", cached=("prompt_token_details.cached_tokens", "num_cached_tokens")),
    Vocabulary("SGLang", reasoning=("reasoning_tokens",)),
    Vocabulary(
        "Alibaba's Model Studio",
        written=("prompt_tokens_details.cache_creation_input_tokens",),
        written_5m=("prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens",),
    ),
    Vocabulary(
        "Gemini's own API, and Vertex AI",
        input=("promptTokenCount",),
        output=("candidatesTokenCount", "responseTokenCount"),
        total=("totalTokenCount",),
        cached=("cachedContentTokenCount",),
        more_input=("toolUsePromptTokenCount",),
        reasoning=("thoughtsTokenCount",),
        audio_input=("promptTokensDetails.modality=AUDIO.tokenCount",),
        audio_output=("candidatesTokensDetails.modality=AUDIO.tokenCount",),
        tier=("serviceTier",),
        reasoning_beside=True,
    ),
    Vocabulary(
        "Cohere's own API",
        # What is billed leaves out the tokens of the template.
        input=("billed_units.input_tokens", "tokens.input_tokens"),
        output=("billed_units.output_tokens", "tokens.output_tokens"),
    ),
    Vocabulary(
        "Bedrock's Converse API",
        input=("inputTokens",),
        output=("outputTokens",),
        total=("totalTokens",),
        cached=("cacheReadInputTokens", "cacheReadInputTokenCount"),
        written=("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
        written_5m=("cacheDetails.ttl=5m.inputTokens",),
        written_1h=("cacheDetails.ttl=1h.inputTokens",),
        cache_beside=True,
    ),
    Vocabulary(
        "Ollama's own API",
        input=("prompt_eval_count",),
        output=("eval_count",),
        cached=("prompt_eval_cached_count",),
    ),
    Vocabulary(
        "llama.cpp's own API",
        input=("tokens_evaluated",),
        output=("tokens_predicted",),
        cached=("tokens_cached",),
    ),
    Vocabulary(
        "llama.cpp's timings",
        input=("timings.prompt_n",),
        output=("timings.predicted_n",),
        cached=("timings.cache_n",),
        cache_beside=True,
    ),
)
