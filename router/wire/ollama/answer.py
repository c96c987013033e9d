"""Convert chat completions to Ollama's answers, whole or as lines of JSON."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from router.formats.json import encodable, json_bytes
from router.types import Usage
from router.wire.chat.answer import Chunk, Finish, Kind, arguments_in, finish_of, identity, logprobs_of
from router.wire.chat.blocks import Block, blocks_of
from router.wire.chat.stream_writer import StreamWriter, only_choice
from router.wire.reasoning import StateReader
from router.wire.usage import usage_in


def answer_chat(chat: Mapping[str, Any], body: Mapping[str, Any], _maker: str = "") -> dict[str, Any]:
    """See `Conversion.answer`; for `/api/chat`."""
    head, blocks, end = _whole(chat, body)
    message: dict[str, Any] = {"role": "assistant", "content": _text(blocks, ("text", "refusal"))}
    if thinking := _text(blocks, ("thinking",)):
        message["thinking"] = thinking
    if calls := [_call(block) for block in blocks if block.kind == "tool"]:
        message["tool_calls"] = calls
    return {**head, "message": message, **end}


def answer_generate(chat: Mapping[str, Any], body: Mapping[str, Any], _maker: str = "") -> dict[str, Any]:
    """See `Conversion.answer`; for `/api/generate`."""
    head, blocks, end = _whole(chat, body)
    thinking = _text(blocks, ("thinking",))
    return {
        **head,
        "response": _text(blocks, ("text", "refusal")),
        **({"thinking": thinking} if thinking else {}),
        **end,
    }


def answer_to_load(body: Mapping[str, Any]) -> bytes | None:
    """The answer to a request without a prompt, by which clients load or unload a model; None for every other one."""
    model = body.get("model")
    if not isinstance(model, str) or any(body.get(field) for field in ("messages", "prompt", "images", "system")):
        return None
    is_chat = "messages" in body
    empty = {"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}
    reason = "unload" if body.get("keep_alive") in (0, "0", "0s") else "load"
    head = {"model": model, "created_at": _moment(0)}
    return json_bytes({**head, **empty, "done": True, "done_reason": reason}) + b"\n"


def error(_status: int, message: str, _kind: str, _code: str | None, _param: str | None) -> bytes:
    """See `Conversion.error`; Ollama's errors are a text."""
    return json_bytes({"error": encodable(message)})


class ChatLines(StreamWriter):
    """See `EventWriter`; an event is a line. Tool calls are sent whole."""

    def __init__(self, body: Mapping[str, Any], _maker: str = "") -> None:
        # Ollama's protocol has no place for what only the answering server can read.
        super().__init__()
        self._thinks = _shows_thinking(body)
        self._head: dict[str, Any] = {}

    def fail(self, message: str, kind: str, code: str | None) -> bytes:
        """See `EventWriter.fail`."""
        return error(500, message, kind, code, None) + b"\n"

    def on_start(self, block: Block) -> bytes:
        """See `BlockWriter.on_start`."""
        return b""

    def on_delta(self, block: Block, text: str) -> bytes:
        """See `BlockWriter.on_delta`."""
        if block.kind == "tool":
            return b""
        logprobs = _logprobs(self._choice) if block.kind == "text" else {}
        return self._line({**self._head, **self._part(block.kind, text), **logprobs, "done": False})

    def on_stop(self, block: Block) -> bytes:
        """See `BlockWriter.on_stop`."""
        if block.kind != "tool":
            return b""
        message = {"role": "assistant", "content": "", "tool_calls": [_call(block)]}
        return self._line({**self._head, "message": message, "done": False})

    def _part(self, kind: Kind, text: str) -> dict[str, Any]:
        if kind == "thinking":
            return {"message": {"role": "assistant", "content": "", "thinking": text}}
        return {"message": {"role": "assistant", "content": text}}

    @property
    def _shows_thinking(self) -> bool:
        return self._thinks

    def _start_events(self, id_: str, model: str, created: int) -> Sequence[bytes]:
        self._head = {"model": model, "created_at": _moment(created)}
        return ()

    def _end_events(self, finish: Finish, usage: Usage | None, has_calls: bool) -> Sequence[bytes]:
        return (self._line({**self._head, **self._part("text", ""), **_end(finish, usage)}),)

    def _line(self, value: dict[str, Any]) -> bytes:
        return json_bytes(value) + b"\n"


class GenerateLines(ChatLines):
    """See `EventWriter`; for `/api/generate`, which has no tools."""

    def _part(self, kind: Kind, text: str) -> dict[str, Any]:
        return {"response": "", "thinking": text} if kind == "thinking" else {"response": text}


def _whole(chat: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[Block], dict[str, Any]]:
    choice = only_choice(chat)
    id_, model, created = identity(chat)
    head = {"model": model, "created_at": _moment(created)}
    blocks = blocks_of(choice.get("message"), id_, StateReader(""), shows_thinking=_shows_thinking(body))
    return head, blocks, {**_logprobs(choice), **_end(finish_of(choice) or Finish("stop"), usage_in(chat))}


def _text(blocks: Sequence[Block], kinds: tuple[Kind, ...]) -> str:
    return "".join(block.text for block in blocks if block.kind in kinds)


def _logprobs(choice: Chunk) -> dict[str, Any]:
    """The log probabilities in a choice, whose entries are the same in Ollama's answers; empty without any."""
    entries = logprobs_of(choice)
    return {"logprobs": entries} if entries else {}


def _call(block: Block) -> dict[str, Any]:
    return {"id": block.id, "function": {"name": block.name, "arguments": arguments_in(block.text)}}


def _end(finish: Finish, usage: Usage | None) -> dict[str, Any]:
    """The last fields of an answer. Upstreams do not report the durations, which clients add up, so they are 0."""
    usage = usage or Usage(0, 0)
    return {
        "done": True,
        "done_reason": "length" if finish.reason == "length" else "stop",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": usage.input_tokens,
        "prompt_eval_duration": 0,
        "eval_count": usage.output_tokens,
        "eval_duration": 0,
    }


def _moment(created: int) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(created, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _shows_thinking(body: Mapping[str, Any]) -> bool:
    return body.get("think") is not False
