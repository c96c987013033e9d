"""A complete stream as one whole answer, for clients that requested no stream from a server that streams anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from router.errors import UpstreamError
from router.formats.json import json_or_none
from router.types import Api
from router.wire.chat.answer import index_of_call, objects
from router.wire.reasoning import LIST_FIELDS, add_piece
from router.wire.streams.progress import choices_in, ends_response

Events = Iterable[Mapping[str, Any]]
# Texts of a delta that continue one another; of every other field, the last value counts.
_CONTINUED = frozenset(
    {"content", "reasoning_content", "reasoning", "refusal", "arguments", "transcript", "data", "text"}
)
_SET_ONCE = frozenset({"id", "type", "role", "name", "index"})


def assembled(api: Api, events: Events) -> dict[str, Any]:
    """The whole answer of a complete stream of decoded events. Raises UpstreamError where they are no answer."""
    return _ASSEMBLERS[api](events)


def _chat(events: Events) -> dict[str, Any]:
    answer = _choices(events, "chat.completion", _add_delta)
    for choice in answer["choices"]:
        calls = choice["message"].get("tool_calls")
        if isinstance(calls, list):
            # Only the calls of chunks have an index.
            choice["message"]["tool_calls"] = [
                {name: value for name, value in call.items() if name != "index"} if isinstance(call, Mapping) else call
                for call in calls
            ]
    return answer


def _completions(events: Events) -> dict[str, Any]:
    return _choices(events, "text_completion", _add_text)


def _choices(events: Events, kind: str, add: Callable[[dict[str, Any], Mapping[str, Any]], None]) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        # Azure's first chunk has an empty id and model.
        answer |= {name: value for name, value in event.items() if name != "choices" and (value or name not in answer)}
        for choice in choices_in(event):
            given = choice.get("index")
            index = given if isinstance(given, int) else 0
            whole = choices.setdefault(index, {"index": index})
            for name, value in choice.items():
                if name == "logprobs":
                    whole[name] = _joined_logprobs(whole.get(name), value)
                elif name == "message" and not isinstance(value, Mapping):
                    continue
                elif name not in ("index", "delta", "text") and (value not in (None, "") or name not in whole):
                    whole[name] = dict(value) if name == "message" else value
            add(whole, choice)
    return {**answer, "object": kind, "choices": [choices[index] for index in sorted(choices)]}


def _add_delta(whole: dict[str, Any], choice: Mapping[str, Any]) -> None:
    message = whole.setdefault("message", {"role": "assistant", "content": None})
    delta = choice.get("delta")
    if isinstance(delta, Mapping):
        _merge(message, delta)


def _add_text(whole: dict[str, Any], choice: Mapping[str, Any]) -> None:
    text = choice.get("text")
    whole["text"] = whole.get("text", "") + (text if isinstance(text, str) else "")


def _merge(whole: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a delta's fields to those of `whole`."""
    for name, value in delta.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, list):
            known = list(before) if isinstance(before, list) else []
            whole[name] = _LISTS.get(name, _merged_list)(known, value)
        elif isinstance(value, Mapping):
            whole[name] = dict(before) if isinstance(before, Mapping) else {}
            _merge(whole[name], value)
        elif name in _CONTINUED and isinstance(value, str) and isinstance(before, str):
            whole[name] = before + value
        elif name not in _SET_ONCE or not before:
            whole[name] = value


def _merged_calls(merged: list[Any], added: list[Any]) -> list[Any]:
    """The tool calls with those of a delta, some of which may have no index."""
    for call in added:
        indexed = call
        if isinstance(call, Mapping) and not isinstance(call.get("index"), int):
            begun = [each for each in objects(merged) if isinstance(each.get("index"), int)]
            known = {each["index"]: (each.get("id"), _name(each)) for each in begun}
            newest = begun[-1]["index"] if begun else 0
            indexed = {**call, "index": index_of_call(call.get("id"), _name(call), known, newest)}
        merged = _merged_list(merged, [indexed])
    return merged


def _name(call: Mapping[str, Any]) -> Any:
    function = call.get("function")
    return function.get("name") if isinstance(function, Mapping) else None


def _merged_reasoning(merged: list[Any], added: list[Any]) -> list[Any]:
    """The entries of reasoning with the pieces of a delta."""
    for piece in objects(added):
        add_piece(merged, piece)
    return merged


_LISTS = {"tool_calls": _merged_calls, **dict.fromkeys(LIST_FIELDS, _merged_reasoning)}
"""How lists are continued whose entries may have no `index`."""


def _merged_list(merged: list[Any], added: list[Any]) -> list[Any]:
    """The list with the entries of a delta: an entry of the same `index` and id is continued, others are new."""
    for entry in added:
        position = _position(merged, entry)
        if position is None:
            merged.append(dict(entry) if isinstance(entry, Mapping) else entry)
        else:
            merged[position] = dict(merged[position])
            _merge(merged[position], entry)
    return merged


def _position(entries: list[Any], entry: Any) -> int | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("index"), int):
        return None
    id_, kind = entry.get("id"), entry.get("type")
    for position, known in reversed(list(enumerate(entries))):
        if not isinstance(known, Mapping) or known.get("index") != entry["index"]:
            continue
        # Some servers give every call the index 0; then the id tells them apart.
        is_same = not id_ or not known.get("id") or known["id"] == id_
        return position if is_same and (kind is None or known.get("type") in (None, kind)) else None
    return None


def _joined_logprobs(before: Any, added: Any) -> Any:
    if not isinstance(added, Mapping):
        return before
    if not isinstance(before, Mapping):
        return dict(added)
    joined = dict(before)
    for name, entries in added.items():
        earlier = joined.get(name)
        joined[name] = [*earlier, *entries] if isinstance(earlier, list) and isinstance(entries, list) else entries
    return joined


def _message(events: Events) -> dict[str, Any]:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    for event in events:
        kind, given = event.get("type"), event.get("index")
        index = given if isinstance(given, int) else 0
        delta = event.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        if kind == "message_start" and isinstance(event.get("message"), Mapping):
            message = dict(event["message"])
        elif kind == "content_block_start" and isinstance(event.get("content_block"), Mapping):
            blocks[index] = dict(event["content_block"])
        elif kind == "content_block_delta":
            _add_to_block(blocks.setdefault(index, {"type": "text", "text": ""}), inputs, index, delta)
        elif kind == "message_delta":
            message |= delta
        if kind == "message_delta" and isinstance(event.get("usage"), Mapping):
            known = {name: value for name, value in event["usage"].items() if value is not None}
            before = message.get("usage")
            message["usage"] = {**(before if isinstance(before, Mapping) else {}), **known}
    for index, text in inputs.items():
        read = json_or_none(text.encode("utf-8", "surrogatepass")) if text.strip() else {}
        if not isinstance(read, dict):
            raise UpstreamError("the upstream's tool call has invalid arguments", fault="malformed")
        blocks[index]["input"] = read
    if not message:
        raise UpstreamError("the upstream's stream has no message", fault="malformed")
    return {**message, "content": [blocks[index] for index in sorted(blocks)]}


def _add_to_block(block: dict[str, Any], inputs: dict[int, str], index: int, delta: Mapping[str, Any]) -> None:
    match delta.get("type"):
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + str(delta.get("partial_json") or "")
        case "citations_delta":
            before = block.get("citations")
            block["citations"] = [*(before if isinstance(before, list) else []), delta.get("citation")]
        case "signature_delta":
            block["signature"] = delta.get("signature")
        case _:
            for name, value in delta.items():
                if name != "type" and isinstance(value, str):
                    block[name] = str(block.get(name) or "") + value


def _response(events: Events) -> dict[str, Any]:
    for event in events:
        response = event.get("response")
        if ends_response(event) and isinstance(response, Mapping):
            return dict(response)
    raise UpstreamError("the upstream's stream has no response", fault="malformed")


_ASSEMBLERS: Mapping[Api, Callable[[Events], dict[str, Any]]] = {
    "chat": _chat,
    "completions": _completions,
    "messages": _message,
    "responses": _response,
}
