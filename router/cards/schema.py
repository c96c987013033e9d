"""The model card: declared facts about one model or adapter, and nothing that nobody published.

In YAML the quantities are written as people write them (`7B`, `0.15$`, `250ms`, `2025-03`); here they are
plain numbers whose names state the unit. None means that the fact is not known.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from router.cards.benchmarks import share_of_scale
from router.formats.json_schema import file_schema
from router.formats.quantities import Day, Dollars, Milliseconds, Size, TokenCount, write_quantity
from router.types import Api

CardId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$",
        description="Unique name of the card; what clients ask for and what answers carry.",
    ),
]
Word = Annotated[str, Meta(min_length=1, max_length=200)]
Base = Annotated[CardId, Meta(description="For an adapter: the id of its base model's card.")]
Privacy = Annotated[
    Literal["local", "private", "public"],
    Meta(description="Who sees the prompt: this machine, your own servers, or somebody else's."),
]
Modality = Literal["text", "image", "audio", "video", "pdf"]
Capability = Literal["tools", "parallel_tools", "json_schema", "reasoning", "logprobs", "prompt_cache", "web_search"]


class Price(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.removesuffix("_usd")):
    """US dollars per million tokens."""

    input_usd: Dollars
    output_usd: Dollars
    cached_input_usd: Dollars | None = None


class Latency(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.removesuffix("_ms")):
    """Measured time to the first token, and per token after it."""

    ttft_ms: Milliseconds | None = None
    tpot_ms: Milliseconds | None = None


class Benchmark(Struct, frozen=True, forbid_unknown_fields=True):
    """A published score with where and when it was published."""

    score: Annotated[float, Meta(description="On the scale it was published on: percent as 68.4, MT-Bench as 8.1.")]
    source: Word
    date: Day | None = None


class RateLimits(Struct, frozen=True, forbid_unknown_fields=True):
    """What the deployment accepts: requests and tokens a minute, calls at once."""

    rpm: Annotated[int, Meta(gt=0)] | None = None
    tpm: Annotated[int, Meta(gt=0)] | None = None
    concurrency: Annotated[int, Meta(gt=0)] | None = None


Url = Annotated[
    str,
    Meta(description="Where the server's protocol begins, such as http://127.0.0.1:8000/v1."),
]
KeyVariable = Annotated[str, Meta(description="The environment variable that holds the key.")]


class Place(Struct, frozen=True, forbid_unknown_fields=True, rename={"rate_limits": "limits"}):
    """One of several servers that serve a card's model."""

    base_url: Url
    api_key_env: KeyVariable | None = None
    rate_limits: RateLimits | None = None

    def __post_init__(self) -> None:
        _check_place(self.base_url, self.api_key_env)


class Lora(Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a low-rank adapter, and where its weights lie."""

    rank: Annotated[int, Meta(gt=0)]
    alpha: float | None = None
    targets: tuple[Word, ...] = ()
    path: Word | None = None


class Lineage(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a card comes from."""

    parents: tuple[CardId, ...] = ()
    migrated_from: CardId | None = None
    note: Word | None = None


_YAML_NAMES = {
    "context_tokens": "context",
    "max_output_tokens": "max_output",
    "rate_limits": "limits",
}


class Card(Struct, frozen=True, forbid_unknown_fields=True, rename=_YAML_NAMES):
    """One model or adapter. Only `id`, `provider` and `model` are required."""

    id: CardId
    provider: Annotated[Word, Meta(description="litellm's provider name (openai, anthropic, hosted_vllm, ollama …).")]
    model: Annotated[Word, Meta(description="The model's name as that provider knows it.")]
    kind: Literal["model", "adapter"] = "model"
    base: Base | None = None
    description: Annotated[str, Meta(max_length=2000)] | None = None
    family: Word | None = None
    aliases: Annotated[
        tuple[Word, ...],
        Meta(description="Other names: in tables of outcomes, and in requests."),
    ] = ()
    base_url: Url | None = None
    api_key_env: KeyVariable | None = None
    deployments: Annotated[
        tuple[Place, ...],
        Meta(description="Several servers of the same model, in place of base_url; the least busy is called."),
    ] = ()
    apis: (
        Annotated[
            tuple[Api, ...],
            Meta(
                min_length=1,
                description="What the server speaks; other requests are converted to chat. Usual for its provider.",
            ),
        ]
        | None
    ) = None
    size: Size | None = None
    context_tokens: TokenCount | None = None
    max_output_tokens: TokenCount | None = None
    released: Day | None = None
    knowledge_cutoff: Day | None = None
    license: Word | None = None
    weights: Literal["open", "closed"] | None = None
    region: Word | None = None
    privacy: Privacy | None = None
    modalities: tuple[Modality, ...] = ("text",)
    capabilities: tuple[Capability, ...] | None = None
    languages: tuple[Word, ...] = ()
    price: Price | None = None
    latency: Latency | None = None
    benchmarks: Mapping[Word, Benchmark] = {}
    good_for: tuple[Word, ...] = ()
    not_for: tuple[Word, ...] = ()
    tags: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ...] = ()
    rate_limits: RateLimits | None = None
    lora: Lora | None = None
    lineage: Lineage | None = None
    source: Annotated[str, Meta(description="Where the card's facts come from.")] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "adapter") != (self.base is not None):
            raise ValueError("kind: an adapter names its `base` card, and only an adapter does")
        if "text" not in self.modalities:
            raise ValueError("modalities: must contain text")
        for name, benchmark in self.benchmarks.items():
            try:
                share_of_scale(name, benchmark.score)
            except ValueError as error:
                raise ValueError(f"benchmarks.{name}.score: {error}") from None
        if self.deployments and (self.base_url or self.api_key_env or self.rate_limits):
            raise ValueError(
                "deployments: each has its own base_url, api_key_env and limits; move the card's into them"
            )
        _check_place(self.base_url, self.api_key_env)

    @property
    def names(self) -> tuple[str, ...]:
        """The id and every alias."""
        return (self.id, *self.aliases)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a card file, from which editors complete and check."""
    return file_schema(Card, "Pulvinar model card")


def _check_place(url: str | None, variable: str | None) -> None:
    if url is not None and not _is_url(url):
        # Without saying what it is: a password may stand in it.
        raise ValueError("base_url: must be like https://host/v1, with http or https, without blanks, user or key")
    if variable is not None and not variable.isidentifier():
        raise ValueError("api_key_env: must be the name of a variable, such as OPENAI_API_KEY; never the key itself")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and "@" not in parts.netloc and not any(character.isspace() for character in text)


def to_plain(card: Card) -> dict[str, Any]:
    """The card as YAML would hold it, without what is not known."""
    plain = msgspec.to_builtins(card, enc_hook=write_quantity)
    unset = _defaults()
    return {key: _stated(value) for key, value in plain.items() if value not in (None, {}, unset[key])}


@functools.cache
def _defaults() -> dict[str, Any]:
    return {field.encode_name: field.default for field in msgspec.structs.fields(Card)}


def _stated(value: Any) -> Any:
    """`value` with lists for tuples, and without the keys of nested mappings that hold nothing."""
    if isinstance(value, Mapping):
        return {key: _stated(inner) for key, inner in value.items() if inner is not None and inner != ()}
    return [_stated(item) for item in value] if isinstance(value, tuple) else value
