"""A Responses request as a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.chat.transcript import Part, Transcript
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of

_CONVERTED = frozenset(
    {
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "reasoning",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
# What concerns the keeping of answers or OpenAI's own tools, and leaves this answer what it is. OpenAI takes a chat's
# metadata only where it keeps the answer; ours carries it back to the client.
_DROPPED = frozenset(
    {"background", "client_metadata", "context_management", "max_tool_calls", "metadata", "store", "truncation"}
)
_NOT_KEPT = "names something that is kept between requests, and the gateway keeps no answers; send all of `input`"
_REFUSED = {
    "background": "asks for an answer to be fetched later, and the gateway keeps no answers",
    "conversation": _NOT_KEPT,
    "moderation": "asks for moderation, which chat completions do not do",
    "previous_response_id": _NOT_KEPT,
    "prompt": "names a template that OpenAI keeps; send its text in `instructions` and `input`",
}
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_LOGPROBS = "message.output_text.logprobs"


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`."""
    for field, problem in _REFUSED.items():
        if body.get(field):
            reject(field, problem)
    chat = {field: value for field, value in body.items() if field not in _CONVERTED | _DROPPED}
    chat["messages"] = _messages(body)
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    if body.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    effort = fields_of(body.get("reasoning") or {}, "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = text_of(effort, "reasoning.effort")
    return {**chat, **_text(body), **_logprobs(body), **_tools(body)}


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    transcript = Transcript()
    if body.get("instructions"):
        transcript.say("system", [_words(body["instructions"], "instructions")])
    given = body.get("input")
    if not given:
        reject("input", "must be a text, or a list with at least one item")
    if isinstance(given, str):
        transcript.say("user", [_words(given, "input")])
        return transcript.messages
    for item, where in entries(given, "input"):
        _item(transcript, item, where)
    if not transcript.messages:
        reject("input", "holds nothing but reasoning")
    return transcript.messages


def _item(transcript: Transcript, item: Mapping[str, Any], where: str) -> None:
    kind = "message" if item.get("type") is None and "role" in item else kind_of(item, where)
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            reject(f"{where}.role", "must be user, assistant, system or developer")
        transcript.say(_ROLES[role], _parts(item.get("content"), f"{where}.content"))
    elif kind == "function_call":
        arguments = text_of(item.get("arguments"), f"{where}.arguments")
        name, id_ = (
            non_empty_text(item.get("name"), f"{where}.name"),
            non_empty_text(item.get("call_id"), f"{where}.call_id"),
        )
        transcript.call(id_, name, arguments, {})
    elif kind == "function_call_output":
        id_ = non_empty_text(item.get("call_id"), f"{where}.call_id")
        transcript.answer_call(id_, _parts(item.get("output"), f"{where}.output"), {})
    elif kind == "item_reference":
        reject(where, _NOT_KEPT)
    elif kind != "reasoning":
        reject(f"{where}.type", f'is "{kind}", which only OpenAI\'s own models and tools know')


def _parts(content: Any, where: str) -> list[Part]:
    if isinstance(content, str):
        return [_words(content, where)]
    return [_part(part, place) for part, place in entries(content, where)]


def _part(part: Mapping[str, Any], where: str) -> Part:
    kind = kind_of(part, where)
    if kind in ("input_text", "output_text", "text"):
        return _words(part.get("text"), f"{where}.text")
    if kind == "refusal":
        return _words(part.get("refusal"), f"{where}.refusal")
    if kind == "input_image":
        url = _given(part, "image_url", where, "the image itself, or its URL, in `image_url`")
        image: dict[str, Any] = {"url": url}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        file = {"file_data": _given(part, "file_data", where, "the file itself in `file_data`")}
        if part.get("filename") is not None:
            file["filename"] = text_of(part["filename"], f"{where}.filename")
        return {"type": "file", "file": file}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": fields_of(part.get("input_audio"), f"{where}.input_audio")}
    return reject(f"{where}.type", f'is "{kind}", which chat cannot say')


def _given(part: Mapping[str, Any], field: str, where: str, instead: str) -> str:
    if not part.get(field):
        reject(where, f"must hold {instead}; what is kept elsewhere cannot be reached")
    return non_empty_text(part[field], f"{where}.{field}")


def _words(text: Any, where: str) -> Part:
    return {"type": "text", "text": text_of(text, where)}


def _text(body: Mapping[str, Any]) -> dict[str, Any]:
    text = fields_of(body.get("text") or {}, "text")
    said = {"verbosity": text["verbosity"]} if text.get("verbosity") is not None else {}
    shape = text.get("format")
    if shape is None:
        return said
    kind = kind_of(fields_of(shape, "text.format"), "text.format")
    if kind == "json_object":
        return {**said, "response_format": {"type": "json_object"}}
    if kind == "json_schema":
        schema = {field: value for field, value in shape.items() if field != "type" and value is not None}
        fields_of(schema.get("schema"), "text.format.schema")
        return {**said, "response_format": {"type": "json_schema", "json_schema": schema}}
    return said if kind == "text" else reject("text.format.type", "must be text, json_object or json_schema")


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any]:
    include = body.get("include") or []
    if not isinstance(include, list):
        reject("include", "must be a list")
    asked = {"top_logprobs": body["top_logprobs"]} if body.get("top_logprobs") is not None else {}
    return {"logprobs": True, **asked} if asked or _LOGPROBS in include else {}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools = []
    for tool, where in entries(body.get("tools"), "tools"):
        kind = kind_of(tool, where)
        if kind != "function":
            reject(f"{where}.type", f'is "{kind}", a tool that only OpenAI\'s own service has; chat takes functions')
        non_empty_text(tool.get("name"), f"{where}.name")
        kept = ("name", "description", "parameters", "strict")
        function = {field: tool[field] for field in kept if tool.get(field) is not None}
        tools.append({"type": "function", "function": function})
    said: dict[str, Any] = {"tools": tools} if tools else {}
    if body.get("tool_choice") is not None:
        said["tool_choice"] = _choice(body["tool_choice"])
    return said


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    kind = kind_of(fields_of(choice, "tool_choice"), "tool_choice")
    if kind == "function":
        return _function(choice, "tool_choice")
    if kind == "allowed_tools":
        allowed = [_function(tool, where) for tool, where in entries(choice.get("tools"), "tool_choice.tools")]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": allowed}}
    return reject("tool_choice.type", f'is "{kind}", a tool that only OpenAI\'s own service has')


def _function(choice: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": non_empty_text(choice.get("name"), f"{where}.name")}}
