"""The JSON that the gateway reads and writes, as types, for `/openapi.json`.

Only fields that the gateway itself reads are here; every other field of a body reaches the upstream as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.types import Decision

Text = Annotated[str, Meta(min_length=1)]
Wish = Annotated[str, Meta(max_length=2000)]
OutputLimit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Number = Annotated[int, Meta(ge=0)]
ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        description="`auto`, `auto/<policy>`, either with `[<flags>]`, an alias, or a card. Left out, it is `auto`.",
        examples=["auto", "auto/cheap", "auto[size<9B]"],
    ),
]
Objects = list[dict[str, Any]]


class RouteWishes(Struct, forbid_unknown_fields=True):
    """How to choose, where `model` leaves the choice; the headers `x-route-…` are stronger."""

    flags: Annotated[Wish, Meta(examples=["cheapest,size<7B"])] | UnsetType | None = UNSET
    policy: Wish | UnsetType | None = UNSET
    session: Wish | UnsetType | None = UNSET


class Metadata(Struct):
    """The client's own; `route_flags` are read as `route.flags` are, which are stronger."""

    route_flags: Wish | UnsetType | None = UNSET


class StreamOptions(Struct):
    """What a stream carries besides the answer."""

    include_usage: bool | UnsetType | None = UNSET


class Routed(Struct):
    """What every body may have."""

    model: ModelName | UnsetType | None = UNSET
    route: RouteWishes | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class Streamed(Routed):
    """What a body may have whose answer can be streamed."""

    stream: bool | UnsetType | None = UNSET


class Part(Struct):
    """A part of a message: text, an image, a file, a tool's use or its result …"""

    type: Text
    text: str | UnsetType = UNSET


class ChatMessage(Struct):
    """One message of a conversation."""

    role: Annotated[Text, Meta(examples=["user", "assistant", "system", "developer", "tool"])]
    content: str | list[Part] | UnsetType | None = UNSET


class ResponseFormat(Struct):
    """What the answer looks like; `json_schema` needs a card that can."""

    type: Annotated[Text, Meta(examples=["text", "json_object", "json_schema"])]


class ChatBody(Streamed, kw_only=True):
    """A chat completion as OpenAI's clients ask for it. At least one message says something."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: OutputLimit | UnsetType | None = UNSET
    max_completion_tokens: OutputLimit | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET
    response_format: ResponseFormat | UnsetType | None = UNSET


class CompletionsBody(Streamed, kw_only=True):
    """A text completion as OpenAI's clients ask for it. Prompts other than one text need a card that speaks this."""

    prompt: Annotated[
        Text | Annotated[list[str | Number | list[Number]], Meta(min_length=1)],
        Meta(description="A text, or for cards that speak text completions several, or tokens."),
    ]
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: OutputLimit | UnsetType | None = UNSET


class EmbeddingsBody(Routed, kw_only=True):
    """Embeddings as OpenAI's clients ask for them. `model` names a card: vectors of two models cannot be compared."""

    model: Annotated[Text, Meta(description="A card that makes embeddings, or an alias of one.")]
    input: Text | Annotated[list[str | Number | list[Number]], Meta(min_length=1)]


class ResponsesBody(Streamed, kw_only=True):
    """A response as OpenAI's clients ask for it. What chat completions cannot say needs a card that speaks this."""

    input: Text | Annotated[Objects, Meta(min_length=1)] | UnsetType = UNSET
    instructions: str | UnsetType | None = UNSET
    max_output_tokens: OutputLimit | UnsetType | None = UNSET
    previous_response_id: str | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET


class AnthropicMessage(Struct):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Part]


class CountTokensBody(Routed, kw_only=True):
    """What Anthropic's clients ask to be counted."""

    messages: Annotated[list[AnthropicMessage], Meta(min_length=1)]
    system: str | list[Part] | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET


class MessagesBody(CountTokensBody, kw_only=True):
    """A message as Anthropic's clients ask for it."""

    max_tokens: OutputLimit | UnsetType = UNSET
    stream: bool | UnsetType | None = UNSET


class OpenAIFault(Struct):
    """What went wrong; `code` is for programs, `message` for people."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Struct):
    """An error as OpenAI's clients read it. An upstream's own error may have further fields."""

    error: OpenAIFault


class AnthropicFault(Struct):
    """What went wrong."""

    type: str
    message: str


class AnthropicError(Struct):
    """An error as Anthropic's clients read it."""

    type: Literal["error"]
    error: AnthropicFault


class Model(Struct):
    """A name that `model` may have. `created` is in seconds since 1970, 0 where it is not known."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Struct):
    """The names that the key may use."""

    object: Literal["list"]
    data: list[Model]


class TokenCount(Struct):
    """How many tokens the input has."""

    input_tokens: Number


class Health(Struct):
    """Whether the process answers at all."""

    status: Literal["ok"]


class CallableCards(Struct):
    """How many cards there are, and how many of them can be called now."""

    callable: Number
    all: Number


class Configuration(Struct):
    """The configuration in force; `number` counts from the start, `fingerprint` is the same on every machine."""

    number: Number
    fingerprint: str


class Readiness(Struct):
    """Whether requests are to be sent here, and why the last edit of the configuration was refused, if it was."""

    status: Literal["ready", "draining"]
    cards: CallableCards
    configuration: Configuration
    refused_edit: str | None


class NamedCard(Struct):
    """That the request names the card itself, so that nothing is decided."""

    card: str
    named: Literal[True]


_TYPES = (
    ChatBody,
    CompletionsBody,
    EmbeddingsBody,
    ResponsesBody,
    MessagesBody,
    CountTokensBody,
    OpenAIError,
    AnthropicError,
    Models,
    TokenCount,
    Health,
    Readiness,
    NamedCard,
    Decision,
)


def schemas() -> dict[str, Any]:
    """The JSON Schemas of all shapes by name; they refer to one another as components of an OpenAPI document."""
    _, found = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    for schema in found.values():
        # They only repeat the names.
        schema.pop("title", None)
    decision = found["Decision"]
    # `Decision.document` writes it first.
    decision["properties"] = {"card": {"type": "string"}, **decision["properties"]}
    decision["required"] = ["card", *decision["required"]]
    found["RouteAnswer"] = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Decision", "NamedCard")]}
    return found
