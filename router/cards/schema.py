"""The model card: published facts about one model or adapter.

In YAML, quantities have units (`7B`, `0.15$`, `250ms`, `2025-03`); here they are plain numbers whose names state the
unit. None is a fact that is unknown.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from router.cards.abilities import Capability, CardId, Content, Modality, Output, Word
from router.cards.adapter.facts import Axis, Lineage, Lora
from router.cards.adapter.serving import LLAMA_CPP, AdapterServer, KeyId
from router.cards.benchmarks import share_of_scale
from router.cards.machine.facts import Arch, Hardware
from router.cards.price import Price
from router.cards.servers import (
    CaBundle,
    Headers,
    Http2,
    KeyVariables,
    Place,
    Profile,
    Proxy,
    RateLimits,
    Url,
    check_connection,
    check_http2,
    check_server,
)
from router.errors import did_you_mean
from router.formats.json_schema import file_schema
from router.formats.quantities import Day, Milliseconds, Seconds, Size, TokenCount, write_quantity
from router.types import UpstreamApi
from router.wire.dialect import SERVERS

Base = Annotated[CardId, Meta(description="For an adapter: the id of its base model's card.")]
Privacy = Annotated[
    Literal["local", "private", "public"],
    Meta(description="Where prompts are processed: on this machine, on your own servers, or by a third party."),
]


class Latency(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name.removesuffix("_ms")):
    """Measured time to the first token (`ttft`), and time per further token (`tpot`)."""

    ttft_ms: Milliseconds | None = None
    tpot_ms: Milliseconds | None = None


class Benchmark(Struct, frozen=True, forbid_unknown_fields=True):
    """A published score, with its source, the date of publication, and the reasoning effort at which it was reached."""

    score: Annotated[float, Meta(description="On the published scale: percent as 68.4, MT-Bench as 8.1.")]
    source: Word
    date: Day | None = None
    effort: Annotated[Word, Meta(description="The reasoning effort of the run, as published: high, max …")] | None = (
        None
    )


ThinkingTokens = Annotated[
    int,
    Meta(
        ge=0,
        le=1_000_000,
        description="Typical number of tokens that an answer costs for thinking, in addition to what the client sees.",
    ),
]
Tier = Annotated[
    Literal["frontier", "strong", "medium", "small"],
    Meta(description="How strong you believe the model is, among the models of its time."),
]
Example = Annotated[str, Meta(min_length=1, max_length=4000)]
StrongerThan = Annotated[
    tuple[CardId, ...],
    Meta(description="Ids of cards that you believe to be weaker than this one."),
]


class Belief(Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator believes of a card beside its facts."""

    tier: Tier | None = None
    stronger_than: StrongerThan = ()


class Effort(Struct, frozen=True, forbid_unknown_fields=True):
    """The facts of a model at one reasoning effort. What is not stated here is inherited from the card, except for
    what depends on the effort: `thinking_tokens`, `tier`, `stronger_than`, and benchmarks reached at another effort.
    """

    description: Annotated[str, Meta(max_length=2000)] | None = None
    released: Day | None = None
    price: Price | None = None
    latency: Latency | None = None
    thinking_tokens: ThinkingTokens | None = None
    benchmarks: Mapping[Word, Benchmark] = {}
    tier: Tier | None = None
    stronger_than: StrongerThan = ()
    source: Annotated[str, Meta(description="Where these facts come from.")] | None = None

    def __post_init__(self) -> None:
        _check_benchmarks(self.benchmarks)


class Efforts(Struct, frozen=True, forbid_unknown_fields=True):
    """The reasoning efforts of a model, each of which becomes a candidate `card@effort`."""

    none: Effort | None = None
    minimal: Effort | None = None
    low: Effort | None = None
    medium: Effort | None = None
    high: Effort | None = None
    xhigh: Effort | None = None
    max: Effort | None = None

    @property
    def stated(self) -> Mapping[str, Effort]:
        """The stated efforts by name, weakest first."""
        efforts = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: effort for name, effort in efforts.items() if effort is not None}


_YAML_NAMES = {
    "context_tokens": "context",
    "max_output_tokens": "max_output",
    "rate_limits": "limits",
    "ttl_s": "ttl",
}
_OF_ADAPTERS = ("axis", "stackable", "stack", "ttl_s", "tenant")


class Card(Struct, frozen=True, forbid_unknown_fields=True, rename=_YAML_NAMES):
    """One model or adapter. Only `id`, `provider` and `model` are required."""

    id: CardId
    provider: Annotated[Word, Meta(description="litellm's provider name (openai, anthropic, hosted_vllm, ollama …).")]
    model: Annotated[Word, Meta(description="The provider's name for the model.")]
    kind: Literal["model", "adapter"] = "model"
    base: Base | None = None
    description: Annotated[str, Meta(max_length=2000)] | None = None
    family: Word | None = None
    aliases: Annotated[tuple[Word, ...], Meta(description="Other names of the card in requests and in data sets.")] = ()
    base_url: Url | None = None
    api_key_env: KeyVariables | None = None
    headers: Headers = {}
    proxy: Proxy = None
    ca_bundle: CaBundle = None
    http2: Http2 | None = None
    deployments: Annotated[
        tuple[Place, ...],
        Meta(description="Several servers of the same model, instead of base_url; the least busy one is called."),
    ] = ()
    apis: (
        Annotated[
            tuple[UpstreamApi, ...],
            Meta(
                min_length=1,
                description="The server's APIs (default: the provider's); other requests are converted to chat.",
            ),
        ]
        | None
    ) = None
    dialect: (
        Annotated[
            Word,
            Meta(
                description="What the server's chat accepts, where its address does not show it: vllm, sglang …",
                extra_json_schema={"enum": sorted(SERVERS)},
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
    outputs: (
        Annotated[
            tuple[Output, ...],
            Meta(
                min_length=1,
                description="Kinds of content that the model produces (default: text; audio where it accepts audio).",
            ),
        ]
        | None
    ) = None
    consumes: (
        Annotated[
            tuple[Content, ...],
            Meta(min_length=1, description="As a stage of a chain: the kinds of content that the card can read."),
        ]
        | None
    ) = None
    produces: (
        Annotated[
            tuple[Content, ...],
            Meta(min_length=1, description="As a stage of a chain: the kinds of content that the card writes."),
        ]
        | None
    ) = None
    capabilities: tuple[Capability, ...] | None = None
    languages: tuple[Word, ...] = ()
    price: Price | None = None
    latency: Latency | None = None
    thinking_tokens: ThinkingTokens | None = None
    benchmarks: Mapping[Word, Benchmark] = {}
    efforts: Annotated[Efforts, Meta(description="Reasoning efforts that are candidates of their own.")] | None = None
    tier: Tier | None = None
    stronger_than: StrongerThan = ()
    good_for: tuple[Word, ...] = ()
    not_for: tuple[Word, ...] = ()
    examples: Annotated[
        tuple[Example, ...],
        Meta(
            max_length=64, description="Prompts that the card is for: it is expected to do better on prompts like them."
        ),
    ] = ()
    not_examples: Annotated[
        tuple[Example, ...],
        Meta(max_length=64, description="Prompts that look like the examples, but that the card is not for."),
    ] = ()
    tags: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ...] = ()
    rate_limits: RateLimits | None = None
    profile: Profile | None = None
    hardware: Annotated[Hardware, Meta(description="The machine that the model runs on.")] | None = None
    arch: Annotated[Arch, Meta(description="The shape of the model, from its config.json.")] | None = None
    lora: Lora | None = None
    lora_slots: (
        Annotated[
            tuple[CardId, ...],
            Meta(
                min_length=1,
                max_length=1024,
                description="Of the base model: the adapters of its llama.cpp server, in the order of --lora.",
            ),
        ]
        | None
    ) = None
    adapters: Annotated[AdapterServer, Meta(description="Of the base model: how its servers hold adapters.")] | None = (
        None
    )
    axis: Axis | None = None
    stackable: Annotated[
        bool, Meta(description="An adapter that a server may add to another one of the same base in one request.")
    ] = False
    stack: Annotated[
        tuple[CardId, ...],
        Meta(max_length=3, description="Adapters of different axes that a llama.cpp server adds up for this card."),
    ] = ()
    ttl_s: (
        Annotated[Seconds, Meta(description="An adapter is unloaded once no request has used it for this long.")] | None
    ) = None
    tenant: (
        Annotated[KeyId, Meta(description="Of an adapter: the only key (its id in keys.yaml) for which it exists.")]
        | None
    ) = None
    dispatchable: Annotated[
        bool, Meta(description="false: the card describes a model that no chat server has; it is never called.")
    ] = True
    lineage: Lineage | None = None
    source: Annotated[str, Meta(description="Where the card's facts come from.")] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "adapter") != (self.base is not None):
            raise ValueError("kind: an adapter must state its `base` card, and a model must not")
        for name in _OF_ADAPTERS if self.kind == "model" else ():
            if getattr(self, name):
                key = _YAML_NAMES.get(name, name)
                raise ValueError(f"{key}: only an adapter has this; add `kind: adapter` and its `base`, or remove it")
        if "text" not in self.modalities:
            raise ValueError("modalities: must contain text")
        if self.kind == "adapter" and self.efforts is not None:
            raise ValueError("efforts: only a model may state efforts; an adapter is called as it is")
        _check_benchmarks(self.benchmarks)
        if blank := next(
            (key for key in ("examples", "not_examples") if not all(map(str.strip, getattr(self, key)))), None
        ):
            raise ValueError(f"{blank}: an example is a prompt, and one of these is blank")
        if self.not_examples and not self.examples:
            raise ValueError("not_examples: only limit what `examples` say, and the card has none")
        if self.deployments and (self.base_url or self.api_key_env or self.rate_limits):
            raise ValueError("deployments: move the card's base_url, api_key_env and limits into the deployments")
        self._check_adapters()
        check_server(self.base_url, self.api_key_env)
        check_connection(self.proxy, self.headers)
        check_http2(self.http2, [self.base_url, *(place.base_url for place in self.deployments)])
        if self.dialect is not None and self.dialect not in SERVERS:
            known = did_you_mean(self.dialect, SERVERS) or f"; known are {', '.join(sorted(SERVERS))}"
            raise ValueError(f'dialect: there is no "{self.dialect}"{known}')

    def _check_adapters(self) -> None:
        stated = self.adapters
        if stated is None:
            return
        if stated.server == LLAMA_CPP and self.lora_slots is None:
            raise ValueError("adapters.server: a llama.cpp server needs `lora_slots`, the order of its --lora options")
        if stated.server != LLAMA_CPP and self.lora_slots is not None:
            raise ValueError(f"adapters.server: `lora_slots` are those of llama.cpp, and this is {stated.server}")
        if not (self.base_url or self.deployments) and self.kind == "model":
            raise ValueError("adapters: needs the address of the server: add base_url, or deployments")

    @property
    def withheld(self) -> str | None:
        """Why the card is never called, in words; None where it may be."""
        return None if self.dispatchable else "states dispatchable: false"

    @property
    def applied(self) -> tuple[str, ...]:
        """The ids of the adapters whose weights a call of this card uses: those of its stack, else its own, if any."""
        return self.stack or ((self.id,) if self.kind == "adapter" else ())

    @property
    def is_untried(self) -> bool:
        """Whether the card is no candidate by itself: ported to another base and not probed there, or a canary."""
        return self.lineage is not None and self.lineage.state in ("ported", "canary")

    @property
    def is_canary(self) -> bool:
        """Whether the card answers a share of the conversations of another."""
        return self.lineage is not None and self.lineage.state == "canary"

    @property
    def names(self) -> tuple[str, ...]:
        """The id and every alias."""
        return (self.id, *self.aliases)

    @property
    def effort(self) -> str | None:
        """The reasoning effort of a candidate `card@effort` (`router.cards.efforts`); None for every other card."""
        return None

    @property
    def reads(self) -> tuple[Content, ...]:
        """What the card can read as a stage of a chain: what it `consumes`, else its modalities."""
        return self.consumes or self.modalities

    @property
    def writes(self) -> tuple[Content, ...]:
        """What the card writes as a stage of a chain: what it `produces`, else its outputs, else text."""
        return self.produces or self.outputs or ("text",)

    @property
    def origin(self) -> str | None:
        """The card whose model this one is, at another effort or changed by an adapter; None for a model of its own."""
        return self.effort_of or self.base

    @property
    def effort_of(self) -> str | None:
        """The id of the card that states the effort of a candidate `card@effort`; None for every other card."""
        return None

    @property
    def id_without_effort(self) -> str:
        """The id of the card whose effort this is, `effort_of`, else the card's own: efforts share their servers."""
        return self.effort_of or self.id


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a card file, from which editors complete and check."""
    return file_schema(Card, "Pulvinar model card")


def _check_benchmarks(benchmarks: Mapping[str, Benchmark]) -> None:
    for name, benchmark in benchmarks.items():
        try:
            share_of_scale(name, benchmark.score)
        except ValueError as error:
            raise ValueError(f"benchmarks.{name}.score: {error}") from None


def to_plain(card: Card) -> dict[str, Any]:
    """The card as the keys and values of its YAML, without unknown facts and defaults."""
    plain = msgspec.to_builtins(card, enc_hook=write_quantity)
    known = ((key, value) for key, value in plain.items() if value is not None)
    return {key: _without_unset(value) for key, value in known if value not in ({}, _defaults().get(key))}


@functools.cache
def _defaults() -> dict[str, Any]:
    return {field.encode_name: field.default for field in msgspec.structs.fields(Card)}


def _without_unset(value: Any) -> Any:
    """`value` with lists for tuples, and without the unset keys of nested mappings."""
    if isinstance(value, dict):
        return {key: _without_unset(inner) for key, inner in value.items() if inner not in (None, (), {})}
    return [_without_unset(item) for item in value] if isinstance(value, tuple) else value
