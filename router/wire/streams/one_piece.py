"""A whole answer as a stream of one piece, for clients that requested a stream from a server that does not stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from router.formats.json import json_bytes
from router.types import Api
from router.wire.chat.answer import objects
from router.wire.chat.finish import reason_of
from router.wire.sse import DONE, data, event
from router.wire.streams.progress import choices_in

Answer = Mapping[str, Any]
# The fields of a whole answer that chunks do not repeat.
_NOT_IN_CHUNKS = ("choices", "usage", "object")
_NOT_IN_CHOICES = ("message", "finish_reason", "logprobs")
# The text of a content block, by the block's type: its field, the type of its delta, and the delta's field.
_BLOCK_TEXTS = {
    "text": ("text", "text_delta", "text"),
    "thinking": ("thinking", "thinking_delta", "thinking"),
}
_CONTENT_TEXTS = {"output_text": "text", "refusal": "refusal", "reasoning_text": "text"}
_RESPONSE_ENDS = ("completed", "incomplete", "failed", "cancelled")


def one_piece(api: Api, answer: Answer) -> bytes:
    """The events of a whole decoded answer of a protocol, with its usage and its closing event."""
    return b"".join(_WRITERS[api](answer))


def _chat_events(answer: Answer) -> Iterator[bytes]:
    head = _head(answer, "chat.completion.chunk")
    choices = choices_in(answer)
    for choice in choices:
        delta = {"role": "assistant", **_object(choice.get("message"))}
        if isinstance(delta.get("tool_calls"), list):
            delta["tool_calls"] = [
                {"index": index, **call} if isinstance(call, Mapping) else call
                for index, call in enumerate(delta["tool_calls"])
            ]
        others = {name: value for name, value in choice.items() if name not in _NOT_IN_CHOICES}
        logprobs = {"logprobs": choice["logprobs"]} if choice.get("logprobs") is not None else {}
        yield data({**head, "choices": [{"index": 0, **others, "delta": delta, **logprobs, "finish_reason": None}]})
    for choice in choices:
        index = choice.get("index", 0)
        yield data({**head, "choices": [{"index": index, "delta": {}, "finish_reason": _finish_reason(choice)}]})
    yield from _choices_end(head, answer)


def _completion_events(answer: Answer) -> Iterator[bytes]:
    head = _head(answer, "text_completion")
    for choice in choices_in(answer):
        finished = {"index": 0, "logprobs": None, **choice, "finish_reason": _finish_reason(choice)}
        yield data({**head, "choices": [finished]})
    yield from _choices_end(head, answer)


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {**{name: value for name, value in answer.items() if name not in _NOT_IN_CHUNKS}, "object": kind}


def _choices_end(head: Answer, answer: Answer) -> Iterator[bytes]:
    if isinstance(answer.get("usage"), Mapping):
        yield data({**head, "choices": [], "usage": answer["usage"]})
    yield DONE


def _finish_reason(choice: Answer) -> Any:
    """The choice's own finish reason; a whole answer without one is complete."""
    try:
        reason = reason_of(choice)
    except ValueError:
        reason = None
    if reason is not None:
        return choice["finish_reason"]
    return "tool_calls" if _object(choice.get("message")).get("tool_calls") else "stop"


def _message_events(answer: Answer) -> Iterator[bytes]:
    usage = _object(answer.get("usage"))
    stop = {"stop_reason": answer.get("stop_reason") or "end_turn", "stop_sequence": answer.get("stop_sequence")}
    unfinished: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    yield event({"type": "message_start", "message": {**answer, **unfinished, "usage": {**usage, "output_tokens": 0}}})
    for index, block in enumerate(objects(answer.get("content"))):
        yield from _block_events(index, block)
    yield event({"type": "message_delta", "delta": stop, "usage": usage})
    yield event({"type": "message_stop"})


def _block_events(index: int, block: Answer) -> Iterator[bytes]:
    begun, deltas = dict(block), []
    kind = block.get("type")
    if kind in _BLOCK_TEXTS:
        field, delta_kind, delta_field = _BLOCK_TEXTS[kind]
        begun[field] = ""
        deltas.append({"type": delta_kind, delta_field: block.get(field, "")})
        if block.get("signature"):
            begun["signature"] = ""
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        for citation in objects(block.get("citations")):
            begun["citations"] = []
            deltas.append({"type": "citations_delta", "citation": citation})
    elif isinstance(block.get("input"), Mapping):
        begun["input"] = {}
        deltas.append({"type": "input_json_delta", "partial_json": json_bytes(block["input"]).decode()})
    yield event({"type": "content_block_start", "index": index, "content_block": begun})
    for delta in deltas:
        yield event({"type": "content_block_delta", "index": index, "delta": delta})
    yield event({"type": "content_block_stop", "index": index})


def _response_events(answer: Answer) -> Iterator[bytes]:
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    status = answer.get("status") if answer.get("status") in _RESPONSE_ENDS else "completed"
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(objects(answer.get("output"))):
        events += _item_events(index, item)
    events.append({"type": f"response.{status}", "response": {**answer, "status": status}})
    for number, each in enumerate(events):
        yield event({**each, "sequence_number": number})


def _item_events(index: int, item: Answer) -> Iterator[dict[str, Any]]:
    emptied: dict[str, Any] = {name: [] for name in ("content", "summary") if item.get(name)}
    if isinstance(item.get("arguments"), str):
        emptied["arguments"] = ""
    begun = {**item, **emptied, **({"status": "in_progress"} if "status" in item else {})}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    where = {"item_id": item.get("id", ""), "output_index": index}
    for number, part in enumerate(objects(item.get("summary"))):
        at = {**where, "summary_index": number}
        text = part.get("text", "")
        yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
        yield {"type": "response.reasoning_summary_text.delta", **at, "delta": text}
        yield {"type": "response.reasoning_summary_text.done", **at, "text": text}
        yield {"type": "response.reasoning_summary_part.done", **at, "part": part}
    for number, part in enumerate(objects(item.get("content"))):
        yield from _part_events({**where, "content_index": number}, part)
    if isinstance(item.get("arguments"), str):
        name = "response.function_call_arguments"
        yield {"type": f"{name}.delta", **where, "delta": item["arguments"]}
        yield {"type": f"{name}.done", **where, "name": item.get("name"), "arguments": item["arguments"]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(where: Mapping[str, Any], part: Answer) -> Iterator[dict[str, Any]]:
    kind = part.get("type")
    field = _CONTENT_TEXTS.get(kind) if isinstance(kind, str) else None
    emptied = {} if field is None else {field: ""}
    yield {"type": "response.content_part.added", **where, "part": {**part, **emptied}}
    if field is not None:
        logprobs = {"logprobs": part.get("logprobs") or []} if kind == "output_text" else {}
        yield {"type": f"response.{kind}.delta", **where, "delta": part.get(field, ""), **logprobs}
        yield {"type": f"response.{kind}.done", **where, field: part.get(field, ""), **logprobs}
    yield {"type": "response.content_part.done", **where, "part": part}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_WRITERS: Mapping[Api, Callable[[Answer], Iterator[bytes]]] = {
    "chat": _chat_events,
    "completions": _completion_events,
    "messages": _message_events,
    "responses": _response_events,
}
