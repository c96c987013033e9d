"""Convert chat completions to Responses objects, whole or as events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.formats.json import encodable, json_bytes
from router.types import Usage
from router.wire.chat.answer import Finish, finish_of, identity, logprobs_of
from router.wire.chat.blocks import Block, blocks_of
from router.wire.chat.stream_writer import StreamWriter, only_choice
from router.wire.reasoning import StateReader
from router.wire.responses.tools import Called, input_in, names_of_calls
from router.wire.sse import event
from router.wire.usage import usage_in

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# The request's fields that the answer repeats, and their defaults.
_REQUEST_FIELDS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_CONTENT_KINDS = {
    "thinking": ("reasoning_text", "text"),
    "text": ("output_text", "text"),
    "refusal": ("refusal", "refusal"),
    "tool": ("function_call_arguments", "arguments"),
}
_NO_ARGUMENTS = "{}"
_PREFIXES = {"thinking": "rs", "state": "rs", "text": "msg", "refusal": "msg", "tool": "fc"}


def answer(chat: Mapping[str, Any], body: Mapping[str, Any], maker: str = "") -> dict[str, Any]:
    """See `Conversion.answer`."""
    choice = only_choice(chat)
    id_, model, created = identity(chat)
    finish = finish_of(choice) or Finish("stop")
    state = StateReader(maker)
    blocks = blocks_of(choice.get("message"), id_, state)
    # Only the last item can be incomplete.
    statuses = [*["completed"] * (len(blocks) - 1), _status(finish)]
    called = names_of_calls(body)
    output = [
        _item(block, id_, status, block.text, logprobs_of(choice), state.seal, called.get(block.name))
        for block, status in zip(blocks, statuses, strict=False)
    ]
    return _finished_response({**_response(body, id_, model, created), "output": output}, finish, usage_in(chat))


class ResponseEvents(StreamWriter):
    """See `EventWriter`."""

    def __init__(self, body: Mapping[str, Any], maker: str = "") -> None:
        super().__init__(maker)
        self._body = body
        self._sequence = 0
        self._id = ""
        self._response: dict[str, Any] = {}
        self._output: list[dict[str, Any]] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._called = names_of_calls(body)

    def fail(self, message: str, kind: str, code: str | None) -> bytes:
        """See `EventWriter.fail`: `response.failed`, then an error that makes OpenAI's SDKs raise."""
        message = encodable(message)
        failed = b""
        if self._response:
            error_code = "rate_limit_exceeded" if code in ("429", "rate_limit_exceeded") else "server_error"
            error = {"code": error_code, "message": message}
            response = {**self._response, "status": "failed", "output": self._output, "error": error}
            failed = self._event("response.failed", {"response": response})
        details = {"message": message, "type": kind, "param": None, "code": code}
        return failed + self._event("error", {"code": code, "message": message, "param": None, "error": details})

    def _start_events(self, id_: str, model: str, created: int) -> Sequence[bytes]:
        self._id = id_
        self._response = _response(self._body, id_, model, created)
        fields = {"response": self._response}
        return self._event("response.created", fields), self._event("response.in_progress", fields)

    def on_start(self, block: Block) -> bytes:
        """See `BlockWriter.on_start`."""
        if block.kind == "state":
            item = _item(block, self._id, "in_progress", "", ())
            return self._event("response.output_item.added", {"output_index": block.index, "item": item})
        called = self._called_as(block)
        if called is not None and called.is_custom:
            item = _item(block, self._id, "in_progress", "", (), called=called)
            return self._event("response.output_item.added", {"output_index": block.index, "item": item})
        kind, _ = _CONTENT_KINDS[block.kind]
        location = _location(block, self._id)
        name = f"response.{kind}.delta"
        # The beginning of every delta event, encoded once, since encoding it for every chunk costs time.
        head = json_bytes({"type": name, **location})[:-1]
        block.head = b"event: " + name.encode() + b"\ndata: " + head + b',"delta":'
        item = {
            **_item(block, self._id, "in_progress", "", (), called=called),
            **({} if block.kind == "tool" else {"content": []}),
        }
        added = self._event("response.output_item.added", {"output_index": block.index, "item": item})
        if block.kind == "tool":
            return added
        return added + self._event("response.content_part.added", {**location, "part": _part(block, "", ())})

    def on_delta(self, block: Block, text: str) -> bytes:
        """See `BlockWriter.on_delta`."""
        if not block.head:
            # The text of a custom tool is known when its arguments are complete.
            return b""
        self._sequence += 1
        tail = b',"sequence_number":%d}\n\n' % (self._sequence - 1)
        if block.kind == "text":
            logprobs = logprobs_of(self._choice)
            self._logprobs += logprobs
            tail = b',"logprobs":' + (json_bytes(logprobs) if logprobs else b"[]") + tail
        return block.head + json_bytes(text) + tail

    def on_stop(self, block: Block) -> bytes:
        """See `BlockWriter.on_stop`."""
        status = "completed" if self._finish is None else _status(self._finish)
        called = self._called_as(block)
        item = _item(block, self._id, status, block.text, self._logprobs, self._state.seal, called)
        self._output.append(item)
        if called is not None and called.is_custom:
            return self._custom_input(block, item)
        if block.kind == "state":
            return self._event("response.output_item.done", {"output_index": block.index, "item": item})
        kind, field = _CONTENT_KINDS[block.kind]
        location, text = _location(block, self._id), block.text
        # A call without arguments: no client can parse an empty text.
        missing = _NO_ARGUMENTS if block.kind == "tool" and not text.strip() else ""
        done = {**location, field: text or missing}
        if block.kind == "text":
            done["logprobs"] = self._logprobs
        elif block.kind == "tool":
            done["name"] = item["name"]
        events = self.on_delta(block, missing) if missing else b""
        events += self._event(f"response.{kind}.done", done)
        if block.kind != "tool":
            part = _part(block, text, self._logprobs)
            events += self._event("response.content_part.done", {**location, "part": part})
        if block.kind == "text":
            self._logprobs = []
        return events + self._event("response.output_item.done", {"output_index": block.index, "item": item})

    def _called_as(self, block: Block) -> Called | None:
        return self._called.get(block.name) if block.kind == "tool" else None

    def _custom_input(self, block: Block, item: Mapping[str, Any]) -> bytes:
        location, text = _location(block, self._id), item["input"]
        return (
            self._event("response.custom_tool_call_input.delta", {**location, "delta": text})
            + self._event("response.custom_tool_call_input.done", {**location, "input": text})
            + self._event("response.output_item.done", {"output_index": block.index, "item": item})
        )

    def _end_events(self, finish: Finish, usage: Usage | None, _has_calls: bool) -> Sequence[bytes]:
        response = _finished_response({**self._response, "output": self._output}, finish, usage)
        return (self._event(f"response.{response['status']}", {"response": response}),)

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        self._sequence += 1
        return event({"type": name, "sequence_number": self._sequence - 1, **fields})


def _response(body: Mapping[str, Any], id_: str, model: str, created: int) -> dict[str, Any]:
    return {
        "id": f"resp_{id_}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **{
            field: body[field] if body.get(field) is not None else default for field, default in _REQUEST_FIELDS.items()
        },
    }


def _finished_response(response: dict[str, Any], finish: Finish, usage: Usage | None) -> dict[str, Any]:
    finished = {**response, "status": _status(finish), "usage": _usage(usage)}
    if finish.reason in _INCOMPLETE:
        finished["incomplete_details"] = {"reason": _INCOMPLETE[finish.reason]}
    return finished


def _status(finish: Finish) -> str:
    return "incomplete" if finish.reason in _INCOMPLETE else "completed"


def _location(block: Block, answer_id: str) -> dict[str, Any]:
    location: dict[str, Any] = {"item_id": _item_id(block, answer_id), "output_index": block.index}
    return location if block.kind == "tool" else {**location, "content_index": 0}


def _item_id(block: Block, answer_id: str) -> str:
    return f"{_PREFIXES[block.kind]}_{answer_id}_{block.index}"


def _item(
    block: Block,
    answer_id: str,
    status: str,
    text: str,
    logprobs: Sequence[Mapping[str, Any]],
    seal: str = "",
    called: Called | None = None,
) -> dict[str, Any]:
    head = {"id": _item_id(block, answer_id), "status": status}
    if block.kind == "tool" and called is not None and called.is_custom:
        own = {"type": "custom_tool_call", "call_id": block.id, **_name(block, called)}
        return {**head, **own, "input": input_in(text) if text else ""}
    if block.kind == "tool":
        arguments = text if text.strip() or status == "in_progress" else _NO_ARGUMENTS
        own = {"type": "function_call", "call_id": block.id, **_name(block, called)}
        return {**head, **own, "arguments": arguments}
    if block.kind == "state":
        return {**head, "type": "reasoning", "summary": [], "encrypted_content": block.name}
    content = [_part(block, text, logprobs)]
    if block.kind == "thinking":
        encrypted = {"encrypted_content": seal} if seal else {}
        return {**head, "type": "reasoning", "summary": [], "content": content, **encrypted}
    return {**head, "type": "message", "role": "assistant", "content": content}


def _name(block: Block, called: Called | None) -> dict[str, str]:
    if called is None:
        return {"name": block.name}
    return {"name": called.name, **({} if called.namespace is None else {"namespace": called.namespace})}


def _part(block: Block, text: str, logprobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kind, field = _CONTENT_KINDS[block.kind]
    part: dict[str, Any] = {"type": kind, field: text}
    return {**part, "annotations": [], "logprobs": logprobs} if block.kind == "text" else part


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
