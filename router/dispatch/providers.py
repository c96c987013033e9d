"""Providers: the protocols that they support, their base URLs, and the environment variables of their API keys."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

import msgspec

from router import settings
from router.cards.schema import Card
from router.cards.sources.litellm_map import package_folder
from router.errors import did_you_mean
from router.formats.net import host_of, parse_url
from router.types import Api
from router.wire.dialect import Dialect, dialect_for

# The base URLs of providers that support the OpenAI protocol; None where every deployment has its own.
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
_DEFAULT_BASE_URLS = {**_OPENAI_PROTOCOL, "anthropic": "https://api.anthropic.com/v1"}
_OPENAI_APIS: frozenset[Api] = frozenset({"chat", "completions", "embeddings"})
_OPENAI_COM_APIS: frozenset[Api] = _OPENAI_APIS | {"responses"}
_ANTHROPIC_APIS: frozenset[Api] = frozenset({"messages"})
_NO_APIS: frozenset[Api] = frozenset()
# Self-hosted servers, which need no key unless the card names one.
_KEYLESS = frozenset({"hosted_vllm", "vllm", "ollama", "ollama_chat", "lm_studio", "llamafile"})
# Clouds whose SDK finds the credentials by itself (profiles, metadata servers); no variable shows if there are any.
_AMBIENT = frozenset({"bedrock", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "oci", "watsonx"})
# Key variables that are not the provider's name followed by _API_KEY; the first is recommended.
_KEY_VARIABLES = {
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
# litellm's enumeration of its providers is read as text, since importing litellm takes seconds and 200 MB.
_LITELLM_PROVIDERS_FILE = Path("types", "utils.py")
_LITELLM_PROVIDERS_CLASS = re.compile(r"^class LlmProviders\(.*\n((?:[ \t].*\n|\n)+)", re.MULTILINE)
_LITELLM_PROVIDERS_MEMBER = re.compile(r'^    \w+ = "([^"]+)"', re.MULTILINE)


def native_apis(card: Card) -> frozenset[Api]:
    """The APIs that the card's upstream supports without conversion: those on the card, else its provider's."""
    if card.apis is not None:
        return frozenset(card.apis)
    if card.provider in _OPENAI_PROTOCOL:
        return _OPENAI_COM_APIS if card.provider == "openai" and not card.base_url else _OPENAI_APIS
    return _ANTHROPIC_APIS if card.provider == "anthropic" else _NO_APIS


def uses_litellm(card: Card) -> bool:
    """Whether chat requests to the card's upstream go through litellm."""
    return card.provider not in _OPENAI_PROTOCOL and "chat" not in native_apis(card)


def base_url(card: Card) -> str | None:
    """The base URL of a relayed card: that on the card, else its provider's default."""
    return card.base_url or _DEFAULT_BASE_URLS.get(card.provider)


def has_ambient_credentials(card: Card) -> bool:
    """Whether the SDK of the card's provider finds the credentials by itself."""
    return card.provider in _AMBIENT


def api_key(card: Card) -> str | None:
    """The key for the card's upstream, from `api_key_env`, else from its provider's default variable.

    A provider's default key is sent only to that provider: where the card's `base_url` is another server, only
    `api_key_env` is used.
    """
    return next(filter(None, map(settings.variable, _key_variables(card))), None)


def key_variable(card: Card) -> str | None:
    """The environment variable of the card's key: of several, the one that is set; None where it needs none."""
    variables = _key_variables(card)
    return next(filter(settings.variable, variables), variables[0] if variables else None)


def missing_credentials(card: Card) -> str | None:
    """Why the card cannot be called, such as `OPENAI_API_KEY is not set`, or None where nothing is missing.

    `api_key_env` must be set where the card names one. A card with a `base_url` of its own may need no key.
    """
    variables = _key_variables(card)
    return f"{variables[0]} is not set" if variables and api_key(card) is None else None


def unknown_provider(card: Card) -> str | None:
    """The message for a provider that is not supported, with the nearest name; None for a supported one."""
    if not uses_litellm(card):
        return None
    providers = litellm_providers()
    # Without the list no provider is rejected here; the call itself would fail.
    if not providers or card.provider in providers:
        return None
    hint = did_you_mean(card.provider, sorted(providers.union(_OPENAI_PROTOCOL)))
    return f'unknown provider "{card.provider}"{hint}'


def dialect_of(card: Card, url: str | None = None) -> Dialect:
    """The dialect of the card's upstream at `url`, by default at the card's base URL."""
    host = host_of(url or base_url(card))
    return dialect_for(card.provider, host, card.model, card.dialect, converted=uses_litellm(card))


def _key_variables(card: Card) -> tuple[str, ...]:
    if card.api_key_env is not None:
        return (card.api_key_env,) if isinstance(card.api_key_env, str) else card.api_key_env
    if card.provider in _AMBIENT or card.provider in _KEYLESS or not _is_at_its_provider(card):
        return ()
    return _KEY_VARIABLES.get(card.provider) or (f"{card.provider.upper().replace('-', '_')}_API_KEY",)


def _is_at_its_provider(card: Card) -> bool:
    """Whether the card's upstream is its provider's default server, which alone may receive the provider's key."""
    if not card.base_url:
        return True
    default, actual = parse_url(_DEFAULT_BASE_URLS.get(card.provider) or ""), parse_url(card.base_url)
    if default is None or actual is None:
        return False
    return (default.scheme, default.host, default.port) == (actual.scheme, actual.host, actual.port)


@functools.cache
def litellm_providers() -> frozenset[str]:
    """The providers that litellm supports; empty where its source cannot be read."""
    folder = package_folder()
    if folder is None:
        return frozenset()
    try:
        source = (folder / _LITELLM_PROVIDERS_FILE).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    members = _LITELLM_PROVIDERS_CLASS.search(source)
    return frozenset(_LITELLM_PROVIDERS_MEMBER.findall(members[1])) if members else frozenset()


def with_each_key(card: Card) -> list[Card]:
    """The card with each of its keys alone."""
    if not isinstance(card.api_key_env, tuple):
        return [card]
    return [msgspec.structs.replace(card, api_key_env=variable) for variable in card.api_key_env]


def server_of(card: Card) -> str:
    """The name of the server and account that a card with one server is called at, the same for all models there.

    It is a hash, so that neither the address nor the variable of the key is stored with conversations.
    """
    place = f"{card.provider}\n{card.base_url or ''}\n{card.api_key_env or ''}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
