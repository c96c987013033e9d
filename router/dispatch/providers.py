"""What is known of providers: which protocol they speak, where, and the usual variables of their keys."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from urllib.parse import urlsplit

from yarl import URL

from router import settings
from router.cards.litellm_map import package_folder
from router.cards.schema import Card
from router.errors import did_you_mean
from router.types import Api
from router.wire.dialect import Dialect

# Providers that speak the OpenAI protocol, and where; None where every deployment has its own place.
_OPENAI_PROTOCOL: dict[str, str | None] = {
    "cerebras": "https://api.cerebras.ai/v1",
    "custom_openai": None,
    "dashscope": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "deepseek": "https://api.deepseek.com/v1",
    "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "groq": "https://api.groq.com/openai/v1",
    "hosted_vllm": "http://localhost:8000/v1",
    "hyperbolic": "https://api.hyperbolic.xyz/v1",
    "llamafile": "http://localhost:8080/v1",
    "lm_studio": "http://localhost:1234/v1",
    "mistral": "https://api.mistral.ai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1",
    "ollama": "http://localhost:11434/v1",
    "ollama_chat": "http://localhost:11434/v1",
    "openai": "https://api.openai.com/v1",
    "openai_like": None,
    "openrouter": "https://openrouter.ai/api/v1",
    "perplexity": "https://api.perplexity.ai",
    "sambanova": "https://api.sambanova.ai/v1",
    "together_ai": "https://api.together.xyz/v1",
    "vllm": "http://localhost:8000/v1",
    "xai": "https://api.x.ai/v1",
}
_WELL_KNOWN = {**_OPENAI_PROTOCOL, "anthropic": "https://api.anthropic.com/v1"}
_OPENAI_APIS: frozenset[Api] = frozenset({"chat", "completions", "embeddings"})
_OPENAIS_APIS: frozenset[Api] = _OPENAI_APIS | {"responses"}
_ANTHROPIC_APIS: frozenset[Api] = frozenset({"messages"})
_NO_APIS: frozenset[Api] = frozenset()
# Servers that people run themselves, without a key unless the card names one.
_KEYLESS = frozenset({"hosted_vllm", "vllm", "ollama", "ollama_chat", "lm_studio", "llamafile"})
# Clouds whose own SDK finds the credentials (profiles, metadata servers); no variable tells if there are any.
_AMBIENT = frozenset({"bedrock", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "oci", "watsonx"})
# Where the usual variables are not the provider's name followed by _API_KEY; the first is recommended.
_UNUSUAL_KEYS = {
    "azure_text": ("AZURE_API_KEY",),
    "cohere_chat": ("COHERE_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "github": ("GITHUB_TOKEN", "GITHUB_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "perplexity": ("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"),
    "replicate": ("REPLICATE_API_TOKEN", "REPLICATE_API_KEY"),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
}
# They answer 400 or 422 to a field that they do not know, so a cache mark would cost the whole request.
_STRICT_HOSTS = (
    "api.openai.com",
    "openai.azure.com",
    "api.mistral.ai",
    "api.groq.com",
    "api.cerebras.ai",
    "api.fireworks.ai",
)
# Their reasoning models refuse `max_tokens`; elsewhere `max_completion_tokens` is not always known.
_OPENAIS_HOSTS = ("api.openai.com", "openai.azure.com")
# litellm's enumeration of its providers. Importing it takes seconds and 200 MB.
_LITELLMS_FILE = Path("types", "utils.py")
_LITELLMS_CLASS = re.compile(r"^class LlmProviders\(.*\n((?:[ \t].*\n|\n)+)", re.MULTILINE)
_LITELLMS_MEMBER = re.compile(r'^    \w+ = "([^"]+)"', re.MULTILINE)


def native_apis(card: Card) -> frozenset[Api]:
    """What the card's upstream understands as it is: as the card says, else what is usual for its provider."""
    if card.apis is not None:
        return frozenset(card.apis)
    if card.provider in _OPENAI_PROTOCOL:
        return _OPENAIS_APIS if card.provider == "openai" and not card.base_url else _OPENAI_APIS
    return _ANTHROPIC_APIS if card.provider == "anthropic" else _NO_APIS


def uses_litellm(card: Card) -> bool:
    """Whether chat requests reach the card's upstream by way of litellm."""
    return card.provider not in _OPENAI_PROTOCOL and "chat" not in native_apis(card)


def base_url(card: Card) -> str | None:
    """Where a relayed card's upstream is: as the card says, else its provider's well-known place."""
    return card.base_url or _WELL_KNOWN.get(card.provider)


def has_ambient_credentials(card: Card) -> bool:
    """Whether the SDK of the card's provider finds the credentials by itself."""
    return card.provider in _AMBIENT


def api_key(card: Card) -> str | None:
    """The key for the card's upstream: from the variable it names, else from its provider's usual one.

    A provider's usual key goes to that provider alone: where the card's `base_url` leads elsewhere, only a variable
    that the card names counts.
    """
    return next(filter(None, map(settings.variable, _key_variables(card))), None)


def missing_credentials(card: Card) -> str | None:
    """Why the card cannot be called, such as `OPENAI_API_KEY is not set`, or None where nothing is missing.

    A variable that the card names must be set. Where it names none, servers at a place of their own may need no key.
    """
    variables = _key_variables(card)
    return f"{variables[0]} is not set" if variables and api_key(card) is None else None


def unknown_provider(card: Card) -> str | None:
    """That nothing here speaks the protocol of the card's provider, with the nearest name, or None."""
    if not uses_litellm(card):
        return None
    translated = _litellms_own()
    # Without the list nobody is called unknown; the call itself will tell.
    if not translated or card.provider in translated:
        return None
    hint = did_you_mean(card.provider, sorted(translated.union(_OPENAI_PROTOCOL)))
    return f'its provider "{card.provider}" is not one that Pulvinar knows{hint}'


def dialect_of(card: Card, url: str | None = None) -> Dialect:
    """The dialect of the card's upstream at `url`, by default the card's own place."""
    host = urlsplit(url or base_url(card) or "").hostname or ""
    openais = card.provider == "azure" or _is_at(host, _OPENAIS_HOSTS)
    return Dialect(
        cache_control=not (openais or _is_at(host, _STRICT_HOSTS)),
        completion_limit=openais,
        reasons=card.capabilities is None or "reasoning" in card.capabilities,
    )


def _key_variables(card: Card) -> tuple[str, ...]:
    if card.api_key_env is not None:
        return (card.api_key_env,)
    if card.provider in _AMBIENT or card.provider in _KEYLESS or not _at_its_well_known_place(card):
        return ()
    return _UNUSUAL_KEYS.get(card.provider) or (f"{card.provider.upper().replace('-', '_')}_API_KEY",)


def _at_its_well_known_place(card: Card) -> bool:
    if not card.base_url:
        return True
    place = _WELL_KNOWN.get(card.provider)
    return place is not None and _origin(card.base_url) == _origin(place)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    # Read as the relay reads it: two readers of one URL may see two hosts.
    try:
        parsed = URL(url)
        return parsed.scheme, parsed.host or "", parsed.port
    except ValueError:
        return None


def _is_at(host: str, places: tuple[str, ...]) -> bool:
    return any(host == place or host.endswith(f".{place}") for place in places)


@functools.cache
def _litellms_own() -> frozenset[str]:
    """The providers that litellm speaks for; empty where its source cannot be read."""
    folder = package_folder()
    if folder is None:
        return frozenset()
    try:
        source = (folder / _LITELLMS_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    found = _LITELLMS_CLASS.search(source)
    return frozenset(_LITELLMS_MEMBER.findall(found[1])) if found else frozenset()
