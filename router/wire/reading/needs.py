"""What a request needs of the card that answers it: capabilities, and the kinds of its content.

Tables for all protocols at once. A further field or tool of a vendor is a row of `_FIELDS` or `_TOOLS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from router.wire.content_types import PART_MODALITIES

MEANINGS: Mapping[str, str] = {
    "audio_output": "spoken answers",
    "code_interpreter": "a code interpreter",
    "computer_use": "a computer as a tool",
    "custom_tools": "tools with free text or a grammar",
    "file_search": "search in stored files",
    "files": "files by their id",
    "image_generation": "image generation as a tool",
    "image_output": "images as answers",
    "json_object": "an answer that is JSON",
    "json_schema": "answers by a JSON schema, a grammar or a pattern",
    "logprobs": "log probabilities",
    "mcp": "MCP servers",
    "memory": "a memory tool",
    "multiple_choices": "several answers at once",
    "parallel_tools": "parallel calls of tools",
    "predicted_outputs": "a predicted output",
    "reasoning": "reasoning at a stated effort",
    "shell": "a shell as a built-in tool",
    "strict_tools": "calls of tools that follow their schema strictly",
    "text_editor": "a text editor as a built-in tool",
    "tool_search": "search among tools",
    "tools": "tools",
    "web_fetch": "pages of the web by their address",
    "web_search": "web search",
}
"""Everything that a request can need, in words."""

WANTED = frozenset({"multiple_choices", "parallel_tools", "predicted_outputs", "reasoning", "strict_tools"})
"""Needs without which a card still gives a usable answer. Many clients ask for them always, so where no card has them,
the request is answered without.
"""

MET_BY_ALL = frozenset({"json_object"})
"""Needs of which cards state nothing: every model writes JSON when it is asked to."""

OUTPUTS: Mapping[str, str] = {"audio_output": "audio", "image_output": "image"}
"""The needs that are kinds of content of the answer."""

ALWAYS_STATED = frozenset({"tools", "json_schema"})
"""The needs that a card must state. A card that states no capabilities at all is assumed to have the others."""

_NO_EFFORT = frozenset({"none", "minimal", "disabled", "off", "default", ""})
_LOGPROBS = "message.output_text.logprobs"
# What a response format may be beside a text or any JSON: Fireworks', Together's, vLLM's and SGLang's words.
_FORMS = frozenset({"json_schema", "grammar", "regex", "structural_tag"})


def _present(value: Any) -> bool:
    return value is not None


def _true(value: Any) -> bool:
    return value is True


def _more_than(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and bool(value > least)


def _contains(word: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and word in value


def _has_logprobs(value: Any) -> bool:
    # Chat has a boolean, the legacy completions a number.
    return value is True or _more_than(-1)(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, str) and value in _FORMS


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value in ("json_object", "json")


def _is_fields(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_enabled(value: Any) -> bool:
    return isinstance(value, str) and value == "enabled"


def _thinks(value: Any) -> bool:
    return value is True or _is_effort(value)


def _is_effort(value: Any) -> bool:
    return isinstance(value, str) and value.lower() not in _NO_EFFORT


def _is_search(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("mode") != "off"


def _has_web_plugin(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) and item.get("id") == "web" for item in value)


_FIELDS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("logprobs", _has_logprobs, "logprobs"),
    ("top_logprobs", _more_than(0), "logprobs"),
    ("include", _contains(_LOGPROBS), "logprobs"),
    ("web_search_options", _present, "web_search"),
    ("search_parameters", _is_search, "web_search"),
    ("enable_search", _true, "web_search"),
    ("plugins", _has_web_plugin, "web_search"),
    ("mcp_servers", bool, "mcp"),
    ("container", bool, "code_interpreter"),
    ("response_format.type", _is_schema, "json_schema"),
    ("text.format.type", _is_schema, "json_schema"),
    ("output_config.format.type", _is_schema, "json_schema"),
    ("output_format.type", _is_schema, "json_schema"),
    ("response_format.type", _is_json, "json_object"),
    ("text.format.type", _is_json, "json_object"),
    ("format", _is_json, "json_object"),
    ("response_format.schema", _is_fields, "json_schema"),
    ("format", _is_fields, "json_schema"),
    ("guided_json", _present, "json_schema"),
    ("guided_regex", _present, "json_schema"),
    ("guided_choice", _present, "json_schema"),
    ("guided_grammar", _present, "json_schema"),
    ("structured_outputs", bool, "json_schema"),
    ("json_schema", _present, "json_schema"),
    ("grammar", bool, "json_schema"),
    ("regex", bool, "json_schema"),
    ("ebnf", bool, "json_schema"),
    ("modalities", _contains("audio"), "audio_output"),
    ("modalities", _contains("image"), "image_output"),
    ("reasoning_effort", _is_effort, "reasoning"),
    ("reasoning.effort", _is_effort, "reasoning"),
    ("reasoning.max_tokens", _more_than(0), "reasoning"),
    ("reasoning.enabled", _true, "reasoning"),
    ("output_config.effort", _is_effort, "reasoning"),
    ("thinking.budget_tokens", _more_than(0), "reasoning"),
    ("thinking.type", _is_enabled, "reasoning"),
    ("think", _thinks, "reasoning"),
    ("enable_thinking", _true, "reasoning"),
    ("chat_template_kwargs.enable_thinking", _true, "reasoning"),
    ("prediction", _present, "predicted_outputs"),
    ("n", _more_than(1), "multiple_choices"),
)
"""The path of a field, which of its values ask for something, and the capability that they need.

Values that servers assume anyway (`logprobs: false`, `n: 1`) ask for nothing.
"""

_BY_FIRST: dict[str, list[tuple[str, Callable[[Any], bool], str]]] = {}
"""The rows of `_FIELDS` by the first field of their paths: most bodies have hardly any of these."""
for _row in _FIELDS:
    _BY_FIRST.setdefault(_row[0].partition(".")[0], []).append(_row)
_ASKING = frozenset({*_BY_FIRST, "functions", "tools"})

_TOOLS: tuple[tuple[str, str], ...] = (
    (r"(?:enterprise_?)?(?:web|x|live|browser|google|brave)_?search(?!_tool_)\w*", "web_search"),
    (r"\$web_search", "web_search"),
    (r"(?:web_fetch|url_?context|browse_page)\w*", "web_fetch"),
    (r"code_?(?:interpreter|execution)\w*", "code_interpreter"),
    (r"(?:file|collections|document)_search\w*|retrieval|document_library", "file_search"),
    (r"computer(?:_\w+)?", "computer_use"),
    (r"images?_gen(?:eration)?\w*", "image_generation"),
    (r"mcp(?:_\w+)?|remote_mcp", "mcp"),
    (r"(?:local_)?shell\w*|bash(?:_\d+)?", "shell"),
    (r"text_editor\w*|str_replace\w*|apply_patch\w*", "text_editor"),
    (r"tool_search\w*", "tool_search"),
    (r"memory\w*", "memory"),
)
"""The types of built-in tools, or the names of the fields that stand for them (Gemini's `googleSearch`)."""

_TOOL_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), capability) for pattern, capability in _TOOLS)
_MEDIA: Mapping[str, str] = {"application/pdf": "pdf", "audio": "audio", "image": "image", "video": "video"}
"""The modality of an inline file by its media type, or the first part of it; texts have none."""

_PARTS_FIELDS = ("content", "output")
_NO_PARTS = (None, "message", "text", "tool_use", "tool_result", "function_call", "function_call_output", "reasoning")
_MAX_DEPTH = 4


def needs_of(body: Mapping[str, Any]) -> frozenset[str]:
    """The capabilities that a body of any protocol needs: keys of `MEANINGS`. Odd values need nothing."""
    needs: set[str] = set()
    if not _ASKING.isdisjoint(body):
        rows = (row for field in body for row in _BY_FIRST.get(field, ()))
        needs.update(need for path, asks, need in rows if asks(_at(body, path)))
        needs.update(_tool_needs(body))
        if "json_schema" in needs:
            needs.discard("json_object")
        if "tools" in needs and body.get("parallel_tool_calls") is True:
            needs.add("parallel_tools")
    if any(map(_is_stored, _parts(body))):
        needs.add("files")
    return frozenset(needs)


def modalities_of(body: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of content in a body of any protocol, `text` among them."""
    found = (modality_of(part) for part in _parts(body))
    return frozenset({"text", *(modality for modality in found if modality)})


def modality_of(part: Mapping[str, Any]) -> str | None:
    """The modality of a content part of any protocol; None for text, and for files that are stored elsewhere."""
    kind = part.get("type")
    if _is_stored(part):
        return None
    if kind in ("document", "file", "input_file"):
        return _modality_of_file(part)
    return PART_MODALITIES.get(kind) if isinstance(kind, str) else None


def _tool_needs(body: Mapping[str, Any]) -> Iterator[str]:
    if body.get("functions"):
        yield "tools"
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        inner = tool.get("tools") if isinstance(tool, Mapping) and tool.get("type") == "namespace" else None
        for each in inner if isinstance(inner, list) else (tool,):
            yield from _needs_of_tool(each) if isinstance(each, Mapping) else ("tools",)


def _needs_of_tool(tool: Mapping[str, Any]) -> Iterator[str]:
    kind = tool.get("type")
    function = tool.get("function")
    function = function if isinstance(function, Mapping) else tool
    if kind == "builtin_function":
        kind = function.get("name")
    # Anthropic's `custom` is a function; elsewhere it takes a text. That of Responses can be converted to a function.
    is_function = kind in (None, "function") or (kind == "custom" and "input_schema" in tool)
    names = tool if kind is None else (kind,)
    for name in names:
        for pattern, capability in _TOOL_PATTERNS:
            if not isinstance(name, str) or (is_function and name in _FUNCTION_FIELDS):
                continue
            # The name of a vendor may be in front, as in `openrouter:web_search`.
            if pattern.fullmatch(name.rpartition(":")[2]):
                yield capability
                return
    if kind == "custom" and "custom" in tool:
        yield "custom_tools"
        return
    yield "tools"
    if function.get("strict") is True:
        yield "strict_tools"


_FUNCTION_FIELDS = frozenset({"name", "description", "input_schema", "parameters", "function", "strict", "type"})


def _modality_of_file(part: Mapping[str, Any]) -> str | None:
    """The modality of an inline file: chat's and Responses' data URL, or Anthropic's source."""
    source = part.get("source")
    if isinstance(source, Mapping):
        if source.get("type") in ("text", "content"):
            return None
        return _modality_of_media(source.get("media_type"))
    file = part.get("file")
    data = (file if isinstance(file, Mapping) else part).get("file_data")
    if isinstance(data, str) and data.startswith("data:"):
        return _modality_of_media(data[5:200].partition(";")[0])
    return "pdf"


def _modality_of_media(media: Any) -> str | None:
    if not isinstance(media, str) or not media:
        return "pdf"
    media = media.lower()
    if media.startswith("text/"):
        return None
    return _MEDIA.get(media) or _MEDIA.get(media.partition("/")[0]) or "pdf"


_HOLDERS = ("file", "source", "image_url", "input_audio")
_FILE_TYPES = frozenset({"document", "file", "image", "image_url", "input_audio", "input_file", "input_image"})


def _is_stored(part: Mapping[str, Any]) -> bool:
    """Whether a part refers to a file by its id."""
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _FILE_TYPES:
        return kind == "container_upload"
    holders = (part, *(holder for field in _HOLDERS if isinstance(holder := part.get(field), dict)))
    return any(isinstance(holder.get("file_id"), str) for holder in holders)


def _parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The content parts of all messages that are not plain texts, in any protocol."""
    found: list[Mapping[str, Any]] = []
    for field in ("system", "messages", "input"):
        entries = body.get(field)
        if isinstance(entries, list):
            _add_parts(entries, 0, found)
    return found


def _add_parts(entries: list[Any], depth: int, found: list[Mapping[str, Any]]) -> None:
    # Decoded JSON has no other mappings than `dict`, and a check for `Mapping` takes four times as long.
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        if entry.get("type") not in _NO_PARTS:
            found.append(entry)
        for field in _PARTS_FIELDS:
            inner = entry.get(field)
            if isinstance(inner, list) and depth < _MAX_DEPTH:
                _add_parts(inner, depth + 1, found)


def _at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for field in path.split(".") if "." in path else (path,):
        value = value.get(field) if isinstance(value, dict) else None
        if value is None:
            return None
    return value
