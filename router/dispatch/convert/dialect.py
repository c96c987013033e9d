"""What one upstream's chat completions take and another's refuse."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from router.cards.schema import Card
from router.dispatch.providers import base_url

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


class Dialect(Struct, frozen=True):
    """How an upstream's chat completions differ from the common core.

    `cache_control`: Anthropic's cache marks may stay where the client put them. `completion_limit`: the output is
    bounded by `max_completion_tokens`, else by `max_tokens`. `reasons`: `reasoning_effort` may be sent.
    """

    cache_control: bool = True
    completion_limit: bool = False
    reasons: bool = True

    @property
    def limit_field(self) -> str:
        """The field that bounds the output."""
        return "max_completion_tokens" if self.completion_limit else "max_tokens"


COMMON = Dialect()


def dialect_of(card: Card, url: str | None = None) -> Dialect:
    """The dialect of the card's upstream at `url`, by default the card's own place."""
    host = urlsplit(url or base_url(card) or "").hostname or ""
    openais = card.provider == "azure" or _is_at(host, _OPENAIS_HOSTS)
    return Dialect(
        cache_control=not (openais or _is_at(host, _STRICT_HOSTS)),
        completion_limit=openais,
        reasons=card.capabilities is None or "reasoning" in card.capabilities,
    )


def _is_at(host: str, places: tuple[str, ...]) -> bool:
    return any(host == place or host.endswith(f".{place}") for place in places)
