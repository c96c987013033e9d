"""What a provider's double says, whichever protocol it is asked in.

It does what the request's fields ask of a model: calls the offered tool once for every city that the prompt names,
says back what tools returned, fills a JSON schema, tells the images it saw, else repeats the prompt. So a test
knows the answer from its own request, and a field that got lost on the way changes the answer.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CITIES = ("Oslo", "Lima")
PROMPT_TOKENS = 11
CREATED = 1_790_000_000

Ended = Literal["stop", "length", "stop_sequence", "tools"]


@dataclass(frozen=True)
class Tool:
    """A tool that the client offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Ask:
    """A request, freed of its protocol."""

    said: str
    tool_results: Sequence[str] = ()
    images: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    may_call: bool = True
    must_call: bool = False
    must_call_tool: str | None = None
    many_calls: bool = True
    schema: Mapping[str, Any] | None = None
    json: bool = False
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    system: str = ""


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool; `arguments` is JSON."""

    id: str
    name: str
    arguments: str

    @property
    def pieces(self) -> list[str]:
        """The arguments as a stream brings them."""
        return [self.arguments[start : start + 5] for start in range(0, len(self.arguments), 5)]


@dataclass(frozen=True)
class Reply:
    """What the double says."""

    text: str = ""
    calls: Sequence[ToolCall] = ()
    ended: Ended = "stop"
    pieces: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", re.findall(r"\s*\S+", self.text))

    @property
    def tokens(self) -> int:
        """The length of what was said; a word is a token."""
        return len(self.pieces) + sum(len(call.pieces) for call in self.calls)


def reply_to(ask: Ask) -> Reply:
    """What the double says to `ask`."""
    calls = _calls(ask)
    if calls:
        return Reply(calls=calls, ended="tools")
    text, ended = _text(ask), "stop"
    cut = min((text.index(stop) for stop in ask.stop if stop in text), default=None)
    if cut is not None:
        text, ended = text[:cut], "stop_sequence"
    words = re.findall(r"\s*\S+", text)
    if ask.max_tokens and len(words) > ask.max_tokens:
        text, ended = "".join(words[: ask.max_tokens]), "length"
    return Reply(text=text, ended=ended)


def instance(schema: Mapping[str, Any], word: str, root: Mapping[str, Any] | None = None) -> Any:
    """Something that `schema` takes; `word` stands wherever a text is asked for."""
    root = root or schema
    while "$ref" in schema or "anyOf" in schema:
        schema = _referred(root, schema["$ref"]) if "$ref" in schema else schema["anyOf"][0]
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {name: instance(each, word, root) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}), word, root)]
    simple: dict[Any, Any] = {"integer": 7, "number": 0.5, "boolean": True, "null": None}
    return simple.get(kind, word)


def image(url: str) -> str:
    """How the double tells an image: its address, or its type and size."""
    if not url.startswith("data:"):
        return url
    kind, _, encoded = url.removeprefix("data:").partition(";base64,")
    return f"{kind} of {len(base64.b64decode(encoded, validate=True))} bytes"


def served_by(model: str) -> str:
    """The name under which the double says that it answered: providers add a date to the one asked for."""
    return f"{model}-2026-09-01"


def event(fields: Mapping[str, Any], name: str | None = None) -> str:
    """One server-sent event."""
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(fields)}\n\n"


def _referred(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    target: Any = root
    for step in reference.removeprefix("#/").split("/"):
        target = target[step]
    return target  # type: ignore[no-any-return]


def _calls(ask: Ask) -> tuple[ToolCall, ...]:
    offered = {tool.name: tool for tool in ask.tools}
    if not offered or ask.tool_results or not ask.may_call:
        return ()
    tool = offered[ask.must_call_tool] if ask.must_call_tool else next(iter(offered.values()))
    cities = [city for city in CITIES if city in ask.said]
    if not cities and (ask.must_call or ask.must_call_tool):
        cities = [CITIES[0]]
    if not ask.many_calls:
        cities = cities[:1]
    return tuple(
        ToolCall(f"call_{number}_{city.lower()}", tool.name, json.dumps(instance(tool.schema, city)))
        for number, city in enumerate(cities)
    )


def _text(ask: Ask) -> str:
    if ask.tool_results:
        return f"The tools say: {'; '.join(ask.tool_results)}"
    if ask.schema is not None:
        return json.dumps(instance(ask.schema, ask.said))
    if ask.json:
        return json.dumps({"said": ask.said})
    if ask.images:
        return f"I see {', '.join(ask.images)}"
    told = f" (told: {ask.system})" if ask.system else ""
    return f"You said: {ask.said}{told}"
