"""Request and response bodies as types, from which `/openapi.json` takes its JSON Schemas.

Only the fields that the gateway itself reads are here; every other field of a body is forwarded unchanged.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.store.records.feedback import Comment, IdempotencyKey, Source, Value, Verdict
from router.types import Decision

Text = Annotated[str, Meta(min_length=1)]
RoutingOption = Annotated[str, Meta(max_length=2000)]
OutputLimit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Number = Annotated[int, Meta(ge=0)]
ModelName = Annotated[
    str,
    Meta(
        min_length=1,
        description="`auto`, `auto/<policy>`, either with `[<flags>]`, an alias, or a card. The default is `auto`.",
        examples=["auto", "auto/cheap", "auto[size<9B]"],
    ),
]
Objects = list[dict[str, Any]]


class RouteOptions(Struct, forbid_unknown_fields=True):
    """How to choose a card, where `model` does not name one. The headers `x-route-…` override these."""

    flags: Annotated[RoutingOption, Meta(examples=["cheapest,size<7B"])] | UnsetType | None = UNSET
    policy: RoutingOption | UnsetType | None = UNSET
    session: RoutingOption | UnsetType | None = UNSET
    batch: Annotated[bool, Meta(description="The request can wait.")] | UnsetType | None = UNSET
    explore: Annotated[bool, Meta(description="Whether the policy may explore.")] | UnsetType | None = UNSET


class Metadata(Struct):
    """The client's metadata. The gateway reads `route_flags` like `route.flags`, which override them."""

    route_flags: RoutingOption | UnsetType | None = UNSET


class StreamOptions(Struct):
    """What a stream contains besides the content."""

    include_usage: bool | UnsetType | None = UNSET


class RoutedBody(Struct):
    """The fields that every body may have."""

    model: ModelName | UnsetType | None = UNSET
    route: RouteOptions | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class StreamableBody(RoutedBody):
    """The fields of a body whose response can be streamed."""

    stream: bool | UnsetType | None = UNSET


class Part(Struct):
    """A part of a message: text, an image, a file, a tool call, a tool result …"""

    type: Text
    text: str | UnsetType = UNSET


class ChatMessage(Struct):
    """One message of a conversation."""

    role: Annotated[Text, Meta(examples=["user", "assistant", "system", "developer", "tool"])]
    content: str | list[Part] | UnsetType | None = UNSET


class ResponseFormat(Struct):
    """The format of the answer; `json_schema` needs a card with this capability."""

    type: Annotated[Text, Meta(examples=["text", "json_object", "json_schema"])]


class ChatBody(StreamableBody, kw_only=True):
    """OpenAI's request for a chat completion. At least one message must have content."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: OutputLimit | UnsetType | None = UNSET
    max_completion_tokens: OutputLimit | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET
    response_format: ResponseFormat | UnsetType | None = UNSET


class CompletionsBody(StreamableBody, kw_only=True):
    """OpenAI's request for a text completion. Several prompts, or tokens, need a card with native support."""

    prompt: Annotated[
        Text | Annotated[list[str | Number | list[Number]], Meta(min_length=1)],
        Meta(description="A text; for cards with native text completions also several texts, or tokens."),
    ]
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: OutputLimit | UnsetType | None = UNSET


class EmbeddingsBody(RoutedBody, kw_only=True):
    """OpenAI's request for embeddings. `model` must name a card: vectors of different models are not comparable."""

    model: Annotated[Text, Meta(description="A card that supports embeddings, or an alias of one.")]
    input: Text | Annotated[list[str | Number | list[Number]], Meta(min_length=1)]


class ResponsesBody(StreamableBody, kw_only=True):
    """OpenAI's request for a response. Features unknown to chat completions need a card with native support."""

    input: Text | Annotated[Objects, Meta(min_length=1)] | UnsetType = UNSET
    instructions: str | UnsetType | None = UNSET
    max_output_tokens: OutputLimit | UnsetType | None = UNSET
    previous_response_id: str | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET


class AnthropicMessage(Struct):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Part]


class CountTokensBody(RoutedBody, kw_only=True):
    """Anthropic's request for a token count."""

    messages: Annotated[list[AnthropicMessage], Meta(min_length=1)]
    system: str | list[Part] | UnsetType | None = UNSET
    tools: Objects | UnsetType | None = UNSET


class MessagesBody(CountTokensBody, kw_only=True):
    """Anthropic's request for a message."""

    max_tokens: OutputLimit | UnsetType = UNSET
    stream: bool | UnsetType | None = UNSET


class OpenAIFault(Struct):
    """An error: `code` is for programs, `message` for people."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(Struct):
    """An error in OpenAI's format. An upstream's error may have further fields."""

    error: OpenAIFault


class AnthropicFault(Struct):
    """An error: `type` is for programs, `message` for people."""

    type: str
    message: str


class AnthropicError(Struct):
    """An error in Anthropic's format."""

    type: Literal["error"]
    error: AnthropicFault


class Model(Struct):
    """A name that `model` may have. `created` is in seconds since 1970, 0 if unknown."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Struct):
    """The names that the key may use."""

    object: Literal["list"]
    data: list[Model]


class AnthropicModel(Struct):
    """A name that `model` may have, for clients that send `anthropic-version`."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str


class AnthropicModels(Struct):
    """A page of the names that the key may use, for clients that send `anthropic-version`."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class TokenCount(Struct):
    """The number of input tokens."""

    input_tokens: Number


class FeedbackBody(Struct, forbid_unknown_fields=True):
    """How good an answer was: `id` is the `x-request-id` of its response, and either `value` or `verdict` is there."""

    id: Annotated[str, Meta(min_length=1, max_length=200, examples=["req_9debeaecc3bbb3406a6b11be8718f785"])]
    value: Annotated[Value, Meta(description="1 for a right answer, 0 for a wrong one.")] | None = None
    verdict: Annotated[Verdict, Meta(description="good is 1, mixed 0.5, bad 0.")] | None = None
    comment: Comment | None = None
    source: Annotated[Source, Meta(description="Who judged. One judgement of each source counts.")] = "client"
    idempotency_key: IdempotencyKey | None = None


class FeedbackAnswer(Struct):
    """The feedback that is stored. `is_new` is false where the same was there before."""

    id: str
    source: str
    value: float
    is_new: bool


class OllamaMessage(Struct):
    """One message of a conversation; `images` are base64."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | UnsetType | None = UNSET
    images: list[Text] | UnsetType | None = UNSET


class OllamaBody(RoutedBody):
    """The fields of Ollama's requests. Answers are streamed as lines of JSON unless `stream` is false."""

    stream: bool | UnsetType = UNSET
    options: dict[str, Any] | UnsetType | None = UNSET
    think: bool | Literal["low", "medium", "high", "max"] | UnsetType | None = UNSET


class OllamaChatBody(OllamaBody, kw_only=True):
    """Ollama's request for the answer to a conversation. At least one message must have content."""

    messages: Annotated[list[OllamaMessage], Meta(min_length=1)]
    tools: Objects | UnsetType | None = UNSET


class OllamaGenerateBody(OllamaBody, kw_only=True):
    """Ollama's request for the answer to a prompt."""

    prompt: Text
    system: str | UnsetType | None = UNSET


class OllamaShowBody(Struct):
    """Ollama's request for the description of a model."""

    model: Text


class OllamaModel(Struct):
    """What is known of a model."""

    details: dict[str, Any]
    model_info: dict[str, Any]
    capabilities: list[str]


class OllamaEntry(Struct):
    """A name that `model` may have."""

    name: str
    model: str
    modified_at: str
    details: dict[str, Any]


class OllamaModels(Struct):
    """The names that the key may use."""

    models: list[OllamaEntry]


class OllamaVersion(Struct):
    """The version of the API."""

    version: str


class OllamaError(Struct):
    """An error in Ollama's format."""

    error: str


class Health(Struct):
    """The process responds."""

    status: Literal["ok"]


class CallableCards(Struct):
    """The number of cards, and how many of them are available."""

    callable: Number
    all: Number


class Configuration(Struct):
    """The active configuration: `number` counts reloads from 1, `fingerprint` is a hash of the files."""

    number: Number
    fingerprint: str


class Readiness(Struct):
    """Whether requests should be sent here. Clients with an API key also see why not, and why the last configuration
    change was rejected, if it was.
    """

    ready: bool
    status: Literal["ready", "draining", "limits_unavailable"] | UnsetType = UNSET
    cards: CallableCards | UnsetType = UNSET
    configuration: Configuration | UnsetType = UNSET
    refused_edit: str | UnsetType | None = UNSET
    limits_problem: str | UnsetType | None = UNSET
    records_problem: str | UnsetType | None = UNSET


class NamedCard(Struct):
    """The request names a card, so there is no decision."""

    card: str
    named: Literal[True]


_TYPES = (
    ChatBody,
    CompletionsBody,
    EmbeddingsBody,
    ResponsesBody,
    MessagesBody,
    CountTokensBody,
    OllamaChatBody,
    OllamaGenerateBody,
    OllamaShowBody,
    OllamaModel,
    OllamaModels,
    OllamaVersion,
    OpenAIError,
    AnthropicError,
    OllamaError,
    Models,
    AnthropicModels,
    TokenCount,
    FeedbackBody,
    FeedbackAnswer,
    Health,
    Readiness,
    NamedCard,
    Decision,
)


# Responses that have one of several shapes.
_SHAPES = {
    "RouteAnswer": ("Decision", "NamedCard"),
    "ModelsAnswer": ("Models", "AnthropicModels"),
    "ModelAnswer": ("Model", "AnthropicModel"),
}


def schemas() -> dict[str, Any]:
    """The JSON Schemas of all bodies by name, with references between them as components of an OpenAPI document."""
    _, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    for schema in components.values():
        # A title would only repeat the name.
        schema.pop("title", None)
    decision = components["Decision"]
    # `Decision.document` adds the card as the first field.
    decision["properties"] = {"card": {"type": "string"}, **decision["properties"]}
    decision["required"] = ["card", *decision["required"]]
    for name, shapes in _SHAPES.items():
        components[name] = {"anyOf": [{"$ref": f"#/components/schemas/{shape}"} for shape in shapes]}
    return components
