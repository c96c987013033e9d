"""The conversion of OpenAI's legacy text completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.errors import UpstreamError
from router.wire.chat.answer import Chunk, Finish, choices_of, deltas, finish_of, identity, malformed, objects
from router.wire.conversion import Conversion, openai_error
from router.wire.fields import fields_of, reject
from router.wire.sse import DONE, data

_CONVERTED = frozenset(
    {"best_of", "echo", "logprobs", "max_tokens", "prompt", "stream", "stream_options", "suffix"},
)


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`."""
    if body.get("suffix"):
        reject("suffix", "is not supported by chat models; remove it, or name a model with a completions API")
    if body.get("echo"):
        reject("echo", "is not supported by chat models; remove it, or name a model with a completions API")
    if body.get("best_of") not in (None, 1, body.get("n")):
        reject("best_of", "is not supported by chat models unless it equals `n`; request `n` answers instead")
    chat_fields = {field: value for field, value in body.items() if field not in _CONVERTED}
    chat = {**chat_fields, "messages": [{"role": "user", "content": _prompt(body.get("prompt"))}]}
    if body.get("max_tokens") is not None:
        chat["max_tokens"] = body["max_tokens"]
    logprobs = body.get("logprobs")
    if logprobs is not None:
        if isinstance(logprobs, bool) or not isinstance(logprobs, int):
            reject("logprobs", "must be a whole number")
        chat |= {"logprobs": True, "top_logprobs": logprobs}
    if body.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def answer(chat: Mapping[str, Any], _body: Mapping[str, Any], _maker: str = "") -> dict[str, Any]:
    """See `Conversion.answer`."""
    choices = choices_of(chat) if isinstance(chat, dict) else None
    if not choices:
        malformed("it has no choices")
    whole = [_choice(choice, "message", finish_of(choice) or Finish("stop"), 0)[0] for choice in choices]
    usage = chat.get("usage")
    return {**_head(chat), "choices": whole, **({"usage": usage} if isinstance(usage, dict) else {})}


class CompletionEvents:
    """See `EventWriter`."""

    def __init__(self, body: Mapping[str, Any], _maker: str = "") -> None:
        self._wants_usage = bool(fields_of(body.get("stream_options") or {}, "stream_options").get("include_usage"))
        self._head: dict[str, Any] = {}
        self._usage: Any = None
        self._offsets: dict[int, int] = {}
        self._finished: set[int] = set()

    def feed(self, chunk: Chunk) -> Sequence[bytes]:
        """See `EventWriter.feed`."""
        if not isinstance(chunk, dict):
            malformed("a chunk is not an object")
        choices = choices_of(chunk)
        if choices and not self._head:
            self._head = _head(chunk)
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        return [event for choice in choices if (event := self._convert(choice))]

    def end(self) -> Sequence[bytes]:
        """See `EventWriter.end`."""
        if not self._offsets or self._offsets.keys() - self._finished:
            raise UpstreamError("the upstream ended the stream without a finish reason", fault="cut")
        if self._wants_usage and self._usage is not None:
            return data({**self._head, "choices": [], "usage": self._usage}), DONE
        return (DONE,)

    def fail(self, message: str, kind: str, code: str | None) -> bytes:
        """See `EventWriter.fail`."""
        return b"data: " + openai_error(500, message, kind, code, None) + b"\n\n"

    def _convert(self, choice: Mapping[str, Any]) -> bytes | None:
        index = _index(choice)
        finish = finish_of(choice)
        offset = self._offsets.setdefault(index, 0)
        if finish:
            self._finished.add(index)
        converted, self._offsets[index] = _choice(choice, "delta", finish, offset)
        return data({**self._head, "choices": [converted]}) if converted["text"] or finish else None


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(isinstance(entry, str) for entry in prompt):
        reject("prompt", "contains several prompts, which chat models do not support; send one request per prompt")
    if isinstance(prompt, list) and prompt:
        reject("prompt", "contains token ids, which depend on the model's tokenizer; send the text instead")
    return reject("prompt", "must be a non-empty string")


def _head(chat: Mapping[str, Any]) -> dict[str, Any]:
    id_, model, created = identity(chat)
    return {"id": f"cmpl-{id_}", "object": "text_completion", "created": created, "model": model}


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _choice(choice: Mapping[str, Any], field: str, finish: Finish | None, offset: int) -> tuple[dict[str, Any], int]:
    """The choice, and the number of characters in its text so far. Reasoning is left out of text completions."""
    text = "".join(delta.text for delta in deltas(choice.get(field)) if delta.kind in ("text", "refusal"))
    reason = finish and (finish.reason if finish.reason in ("stop", "length", "content_filter") else "stop")
    logprobs = _logprobs(choice.get("logprobs"), offset)
    converted = {"text": text, "index": _index(choice), "logprobs": logprobs, "finish_reason": reason}
    return converted, offset + len(text)


def _logprobs(logprobs: Any, offset: int) -> dict[str, Any] | None:
    if not isinstance(logprobs, dict) or not logprobs.get("content"):
        return None
    entries = objects(logprobs["content"])
    tokens = [_token(entry) for entry in entries]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [entry.get("logprob") for entry in entries],
        "top_logprobs": [
            {_token(top): top.get("logprob") for top in objects(entry.get("top_logprobs"))} for entry in entries
        ],
        "text_offset": offsets,
    }


def _token(entry: Mapping[str, Any]) -> str:
    token = entry.get("token")
    return token if isinstance(token, str) else ""


COMPLETIONS = Conversion(to_chat, answer, CompletionEvents, openai_error)
