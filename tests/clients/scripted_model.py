"""The scripted model of the fake provider, independent of the protocol.

It follows the request's fields: it calls the offered tool once for every city in the prompt, repeats the results of
tools, fills a JSON schema, describes the images it received, else repeats the prompt. So a test can derive the answer
from its own request, and a field lost on the way changes the answer. Agents write much around a prompt; `calling` and
`dictating` are prompts that say what the model answers to them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

CITIES = ("Oslo", "Lima")
PROMPT_TOKENS = 11
CREATED = 1_790_000_000
_CALL, _ANSWER = "Please call this tool:", "Please answer this:"

FinishReason = Literal["stop", "length", "stop_sequence", "tools"]


@dataclass(frozen=True)
class Tool:
    """A tool that the client offers."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class ModelRequest:
    """A request, independent of its protocol."""

    prompt: str
    tool_results: Sequence[str] = ()
    images: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    tools_allowed: bool = True
    tool_required: bool = False
    required_tool: str | None = None
    parallel_calls: bool = True
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
    def fragments(self) -> list[str]:
        """The arguments as the fragments of a stream."""
        return [self.arguments[start : start + 5] for start in range(0, len(self.arguments), 5)]


@dataclass(frozen=True)
class ModelReply:
    """The answer of the scripted model."""

    text: str = ""
    calls: Sequence[ToolCall] = ()
    finish: FinishReason = "stop"
    fragments: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fragments", re.findall(r"\s*\S+", self.text))

    @property
    def tokens(self) -> int:
        """The number of output tokens; every word is one."""
        return len(self.fragments) + sum(len(call.fragments) for call in self.calls)


def reply_to(request: ModelRequest) -> ModelReply:
    """The answer to `request`."""
    calls = _calls(request)
    if calls:
        return ModelReply(calls=calls, finish="tools")
    text, finish = _text(request), "stop"
    cut = min((text.index(stop) for stop in request.stop if stop in text), default=None)
    if cut is not None:
        text, finish = text[:cut], "stop_sequence"
    words = re.findall(r"\s*\S+", text)
    if request.max_tokens and len(words) > request.max_tokens:
        text, finish = "".join(words[: request.max_tokens]), "length"
    return ModelReply(text=text, finish=finish)


def calling(tool: str, **arguments: Any) -> str:
    """A prompt on which the scripted model calls `tool` with these arguments, if the request offers it."""
    return f"{_CALL} {json.dumps([tool, arguments])}"


def dictating(text: str) -> str:
    """A prompt on which the scripted model answers `text` and nothing else."""
    return f"{_ANSWER} {json.dumps(text)}"


def instance(schema: Mapping[str, Any], text: str, root: Mapping[str, Any] | None = None) -> Any:
    """A value that is valid by `schema`; every string in it is `text`."""
    root = root or schema
    while "$ref" in schema or "anyOf" in schema:
        schema = _referred(root, schema["$ref"]) if "$ref" in schema else schema["anyOf"][0]
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {name: instance(property_, text, root) for name, property_ in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}), text, root)]
    simple: dict[Any, Any] = {"integer": 7, "number": 0.5, "boolean": True, "null": None}
    return simple.get(kind, text)


def image_description(url: str) -> str:
    """How the scripted model describes an image: its URL, or its type and size."""
    if not url.startswith("data:"):
        return url
    kind, _, encoded = url.removeprefix("data:").partition(";base64,")
    return f"{kind} of {len(base64.b64decode(encoded, validate=True))} bytes"


def served_model_name(model: str) -> str:
    """The model name in a response: providers add a date to the requested one."""
    return f"{model}-2026-09-01"


def event(fields: Mapping[str, Any], name: str | None = None) -> str:
    """One server-sent event."""
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(fields)}\n\n"


def _referred(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    target: Any = root
    for step in reference.removeprefix("#/").split("/"):
        target = target[step]
    return target  # type: ignore[no-any-return]


def _calls(request: ModelRequest) -> tuple[ToolCall, ...]:
    offered = {tool.name: tool for tool in request.tools}
    if not offered or request.tool_results or not request.tools_allowed:
        return ()
    asked = _value_after(_CALL, request.prompt)
    if asked is not None:
        name, arguments = asked
        return (ToolCall("call_0_asked", name, json.dumps(arguments)),) if name in offered else ()
    tool = offered[request.required_tool] if request.required_tool else next(iter(offered.values()))
    cities = [city for city in CITIES if city in request.prompt]
    if not cities and (request.tool_required or request.required_tool):
        cities = [CITIES[0]]
    if not request.parallel_calls:
        cities = cities[:1]
    return tuple(
        ToolCall(f"call_{number}_{city.lower()}", tool.name, json.dumps(instance(tool.schema, city)))
        for number, city in enumerate(cities)
    )


def _value_after(marker: str, prompt: str) -> Any:
    """The JSON value that follows `marker` in the prompt, else None (also where an agent cites the prompt, escaped)."""
    _, found, rest = prompt.partition(f"{marker} ")
    with contextlib.suppress(json.JSONDecodeError):
        return json.JSONDecoder().raw_decode(rest)[0] if found else None
    return None


def _text(request: ModelRequest) -> str:
    if request.tool_results:
        return f"The tools returned: {'; '.join(request.tool_results)}"
    dictated = _value_after(_ANSWER, request.prompt)
    if dictated is not None:
        return str(dictated)
    if request.schema is not None:
        return json.dumps(instance(request.schema, request.prompt))
    if request.json:
        return json.dumps({"prompt": request.prompt})
    if request.images:
        return f"I see {', '.join(request.images)}"
    system = f" (system: {request.system})" if request.system else ""
    return f"You said: {request.prompt}{system}"
