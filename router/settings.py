"""The only reader of the environment: credentials, and where the folders lie.

Everything is read when asked, never at import.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"

# Servers that people run themselves, without a key unless the card names one.
_KEYLESS = frozenset({"hosted_vllm", "vllm", "ollama", "ollama_chat", "lm_studio", "llamafile"})
# Clouds whose own SDK finds the credentials (profiles, metadata servers); no variable tells if there are any.
_AMBIENT = frozenset({"bedrock", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "oci", "watsonx"})
# Where the usual variables are not the provider's name followed by _API_KEY; the first is recommended.
_UNUSUAL_KEYS = {
    "azure_text": ("AZURE_API_KEY",),
    "cohere_chat": ("COHERE_API_KEY",),
    "custom_openai": ("OPENAI_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "github": ("GITHUB_TOKEN", "GITHUB_API_KEY"),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "perplexity": ("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"),
    "replicate": ("REPLICATE_API_TOKEN", "REPLICATE_API_KEY"),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
}


class Deployment(Protocol):
    """What a card says about reaching its model."""

    @property
    def provider(self) -> str: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def api_key_env(self) -> str | None: ...


def api_key(card: Deployment) -> str | None:
    """The key for the card's upstream: from the variable it names, else from its provider's usual one."""
    return next(filter(None, map(_value, _key_variables(card))), None)


def missing_credentials(card: Deployment) -> str | None:
    """Why the card cannot be called, such as `OPENAI_API_KEY is not set`, or None where nothing is missing.

    A variable that the card names must be set. Where it names none, servers on this machine and servers that
    people run themselves need no key.
    """
    if card.api_key_env is None and on_this_machine(card.base_url):
        return None
    variables = _key_variables(card)
    return f"{variables[0]} is not set" if variables and api_key(card) is None else None


def on_this_machine(url: str | None) -> bool:
    """Whether the URL's host is the loopback interface."""
    host = urlsplit(url).hostname if url else None
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def default_cards_folder() -> Path:
    """PULVINAR_CARDS, else `./model_cards`, else the cards that came with the package."""
    return _folder("PULVINAR_CARDS", "model_cards")


def default_policies_folder() -> Path:
    """PULVINAR_POLICIES, else `./policies`, else the policies that came with the package."""
    return _folder("PULVINAR_POLICIES", "policies")


def default_artifact_folder() -> Path:
    """PULVINAR_ARTIFACT, else the predictor that came with the package."""
    override = _value("PULVINAR_ARTIFACT")
    return Path(override).expanduser() if override else _SHIPPED / "predictor"


def default_encoder_folder() -> Path:
    """The encoder that came with the package."""
    return _SHIPPED / "encoder"


def shipped_cards_folder() -> Path:
    """The cards that came with the package."""
    return _shipped_folder("model_cards")


def shipped_policies_folder() -> Path:
    """The policies that came with the package."""
    return _shipped_folder("policies")


def cache_folder() -> Path:
    """Where results that can be computed again are kept: PULVINAR_CACHE, else the user's cache folder."""
    override = _value("PULVINAR_CACHE")
    base = _value("XDG_CACHE_HOME")
    if override:
        return Path(override).expanduser()
    return (Path(base) if base else Path.home() / ".cache") / "pulvinar"


def prepare_litellm() -> None:
    """Set what litellm reads from the environment when it is imported: no download, no `.env` file."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"


def _value(variable: str) -> str | None:
    # A key pasted with its line break would otherwise end up in a header.
    return os.environ.get(variable, "").strip() or None


def _key_variables(card: Deployment) -> tuple[str, ...]:
    if card.api_key_env is not None:
        return (card.api_key_env,)
    if card.provider in _AMBIENT or card.provider in _KEYLESS:
        return ()
    return _UNUSUAL_KEYS.get(card.provider) or (f"{card.provider.upper().replace('-', '_')}_API_KEY",)


def _folder(variable: str, name: str) -> Path:
    override = _value(variable)
    if override:
        return Path(override).expanduser()
    here = Path.cwd() / name
    return here if here.is_dir() else _shipped_folder(name)


def _shipped_folder(name: str) -> Path:
    shipped = _SHIPPED / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name
