"""The tools of Responses that are functions in chat: functions, functions in namespaces, and custom tools.

A custom tool takes a text. In chat it is a function with that text as its only argument, and calls of it are converted
back. A function in a namespace has the name of the namespace before its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import json_bytes, json_or_none
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of

_INPUT = "input"
_PARAMETERS = {
    "type": "object",
    "properties": {_INPUT: {"type": "string"}},
    "required": [_INPUT],
    "additionalProperties": False,
}
_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")
_BETWEEN = "__"


class Called(Struct, frozen=True):
    """What a function of the chat request is in the client's: its name there, the namespace, and whether it is a
    custom tool.
    """

    name: str
    namespace: str | None = None
    is_custom: bool = False


def chat_tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The functions for chat. Raises FieldError for a tool that only OpenAI can run."""
    return [_chat_tool(tool, path, namespace) for tool, path, namespace in _tools(body)]


def names_of_calls(body: Mapping[str, Any]) -> Mapping[str, Called]:
    """For each function of the chat request whose calls have another form in Responses, what it is called there."""
    names = {}
    for tool, _, namespace in _tools(body):
        is_custom = tool.get("type") == "custom"
        if is_custom or namespace is not None:
            name = str(tool.get("name"))
            names[chat_name(name, namespace)] = Called(name, namespace, is_custom)
    return names


def chat_name(name: str, namespace: Any) -> str:
    """The name of the function in chat."""
    return f"{namespace}{_BETWEEN}{name}" if isinstance(namespace, str) and namespace else name


def arguments_of(text: str) -> str:
    """The arguments of a function that call a custom tool with this text."""
    return json_bytes({_INPUT: text}).decode()


def input_in(arguments: str) -> str:
    """The text in the arguments of a custom tool's function; all of them where a model wrote something else."""
    decoded = json_or_none(arguments.encode("utf-8", "replace"))
    text = decoded.get(_INPUT) if isinstance(decoded, dict) else decoded
    return text if isinstance(text, str) else arguments


def _tools(body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, str | None]]:
    """The tools with their paths, and the namespaces that contain them."""
    for tool, path in entries(body.get("tools"), "tools"):
        if kind_of(tool, path) == "namespace":
            name = non_empty_text(tool.get("name"), f"{path}.name")
            yield from ((inner, inner_path, name) for inner, inner_path in entries(tool.get("tools"), f"{path}.tools"))
        else:
            yield tool, path, None


def _chat_tool(tool: Mapping[str, Any], path: str, namespace: str | None) -> dict[str, Any]:
    kind = kind_of(tool, path)
    if kind not in ("function", "custom"):
        reject(f"{path}.type", f'is "{kind}", a tool that only OpenAI models support; send a function instead')
    name = chat_name(non_empty_text(tool.get("name"), f"{path}.name"), namespace)
    if kind == "custom":
        description = _description(tool, path)
        return {"type": "function", "function": {"name": name, **description, "parameters": _PARAMETERS}}
    function = {field: tool[field] for field in _FUNCTION_FIELDS if tool.get(field) is not None}
    return {"type": "function", "function": {**function, "name": name}}


def _description(tool: Mapping[str, Any], path: str) -> dict[str, str]:
    """The description with the grammar of the input, which chat servers do not enforce."""
    texts = [] if tool.get("description") is None else [text_of(tool["description"], f"{path}.description")]
    form = fields_of(tool.get("format") or {}, f"{path}.format")
    if form.get("type") == "grammar":
        definition = text_of(form.get("definition"), f"{path}.format.definition")
        texts.append(f"The input must match this {form.get('syntax', 'lark')} grammar:\n{definition}")
    return {"description": "\n\n".join(texts)} if texts else {}
