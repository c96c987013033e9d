"""Convert a Responses request to a chat request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.chat.transcript import Part, Transcript
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of
from router.wire.responses.reasoning import state_in
from router.wire.responses.tools import arguments_of, chat_name, chat_tools

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
# Fields for stored answers or OpenAI's tools, which do not affect this answer. OpenAI accepts the metadata of a chat
# only where it stores the answer; the converted answer repeats them.
_DROPPED = frozenset(
    {"background", "client_metadata", "context_management", "max_tool_calls", "metadata", "store", "truncation"}
)
_STATE_UNSUPPORTED = "refers to a stored answer, but the gateway stores none; send the whole conversation in `input`"
_UNSUPPORTED = {
    "background": "is not supported, since the gateway stores no answers; use `stream` for long answers",
    "conversation": _STATE_UNSUPPORTED,
    "moderation": "is not supported by chat completions; remove it",
    "previous_response_id": _STATE_UNSUPPORTED,
    "prompt": "refers to a template stored at OpenAI; send its text in `instructions` and `input`",
}
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_LOGPROBS = "message.output_text.logprobs"


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`."""
    for field, problem in _UNSUPPORTED.items():
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
    return {**chat, **_text_fields(body), **_logprobs_fields(body), **_tool_fields(body)}


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    transcript = Transcript()
    if body.get("instructions"):
        transcript.add_turn("system", [_text_part(body["instructions"], "instructions")])
    items = body.get("input")
    if not items:
        reject("input", "must be a non-empty string, or a list with at least one item")
    if isinstance(items, str):
        transcript.add_turn("user", [_text_part(items, "input")])
        return transcript.messages
    for item, path in entries(items, "input"):
        _add_item(transcript, item, path)
    if not transcript.messages:
        reject("input", "contains only reasoning; add a message")
    return transcript.messages


def _add_item(transcript: Transcript, item: Mapping[str, Any], path: str) -> None:
    kind = "message" if item.get("type") is None and "role" in item else kind_of(item, path)
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            reject(f"{path}.role", "must be user, assistant, system or developer")
        transcript.add_turn(_ROLES[role], _parts(item.get("content"), f"{path}.content"))
    elif kind == "custom_tool_call":
        call = arguments_of(text_of(item.get("input"), f"{path}.input"))
        name = chat_name(non_empty_text(item.get("name"), f"{path}.name"), item.get("namespace"))
        transcript.add_tool_call(non_empty_text(item.get("call_id"), f"{path}.call_id"), name, call, {})
    elif kind == "function_call":
        # A call without arguments: templates parse this text.
        arguments = text_of(item.get("arguments"), f"{path}.arguments") or "{}"
        name, id_ = (
            non_empty_text(item.get("name"), f"{path}.name"),
            non_empty_text(item.get("call_id"), f"{path}.call_id"),
        )
        transcript.add_tool_call(id_, chat_name(name, item.get("namespace")), arguments, {})
    elif kind in ("function_call_output", "custom_tool_call_output"):
        id_ = non_empty_text(item.get("call_id"), f"{path}.call_id")
        transcript.add_tool_result(id_, _parts(item.get("output"), f"{path}.output"), {})
    elif kind == "item_reference":
        reject(path, _STATE_UNSUPPORTED)
    elif kind == "reasoning":
        if state := state_in(item):
            transcript.add_state(state)
    else:
        reject(f"{path}.type", f'is "{kind}", which only OpenAI models support; remove the item')


def _parts(content: Any, path: str) -> list[Part]:
    if isinstance(content, str):
        return [_text_part(content, path)]
    return [_part(part, entry_path) for part, entry_path in entries(content, path)]


def _part(part: Mapping[str, Any], path: str) -> Part:
    kind = kind_of(part, path)
    if kind in ("input_text", "output_text", "text"):
        return _text_part(part.get("text"), f"{path}.text")
    if kind == "refusal":
        return _text_part(part.get("refusal"), f"{path}.refusal")
    if kind == "input_image":
        url = _inline_value(part, "image_url", path, "`file_id` is")
        image: dict[str, Any] = {"url": url}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        file = {"file_data": _inline_value(part, "file_data", path, "`file_id` and `file_url` are")}
        if part.get("filename") is not None:
            file["filename"] = text_of(part["filename"], f"{path}.filename")
        return {"type": "file", "file": file}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": fields_of(part.get("input_audio"), f"{path}.input_audio")}
    return reject(f"{path}.type", f'is "{kind}", which chat completions do not support; remove the part')


def _inline_value(part: Mapping[str, Any], field: str, path: str, unsupported: str) -> str:
    if not part.get(field):
        reject(path, f"must contain `{field}`; {unsupported} not supported")
    return non_empty_text(part[field], f"{path}.{field}")


def _text_part(text: Any, path: str) -> Part:
    return {"type": "text", "text": text_of(text, path)}


def _text_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    text = fields_of(body.get("text") or {}, "text")
    fields = {"verbosity": text["verbosity"]} if text.get("verbosity") is not None else {}
    text_format = text.get("format")
    if text_format is None:
        return fields
    kind = kind_of(fields_of(text_format, "text.format"), "text.format")
    if kind == "json_object":
        return {**fields, "response_format": {"type": "json_object"}}
    if kind == "json_schema":
        schema = {field: value for field, value in text_format.items() if field != "type" and value is not None}
        fields_of(schema.get("schema"), "text.format.schema")
        return {**fields, "response_format": {"type": "json_schema", "json_schema": schema}}
    return fields if kind == "text" else reject("text.format.type", "must be text, json_object or json_schema")


def _logprobs_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    include = body.get("include") or []
    if not isinstance(include, list):
        reject("include", "must be a list")
    top = {"top_logprobs": body["top_logprobs"]} if body.get("top_logprobs") is not None else {}
    return {"logprobs": True, **top} if top or _LOGPROBS in include else {}


def _tool_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    tools = chat_tools(body)
    fields: dict[str, Any] = {"tools": tools} if tools else {}
    if body.get("tool_choice") is not None:
        fields["tool_choice"] = _tool_choice(body["tool_choice"])
    return fields


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    kind = kind_of(fields_of(choice, "tool_choice"), "tool_choice")
    if kind in ("function", "custom"):
        return _function(choice, "tool_choice")
    if kind == "allowed_tools":
        allowed = [_function(tool, path) for tool, path in entries(choice.get("tools"), "tool_choice.tools")]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": allowed}}
    return reject("tool_choice.type", f'is "{kind}", a tool that only OpenAI models support; choose a function instead')


def _function(choice: Mapping[str, Any], path: str) -> dict[str, Any]:
    name = chat_name(non_empty_text(choice.get("name"), f"{path}.name"), choice.get("namespace"))
    return {"type": "function", "function": {"name": name}}
