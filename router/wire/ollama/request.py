"""Convert Ollama's requests to chat requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.formats.json import json_bytes
from router.wire.chat.response_format import response_format
from router.wire.effort import NO_THINKING
from router.wire.fields import entries, fields_of, non_empty_text, reject, text_of

# Chat's fields for `options`. Those that are not here say how a server runs a model, which is not for clients, or have
# no counterpart at any other server.
_OPTIONS = {
    "frequency_penalty": "frequency_penalty",
    "min_p": "min_p",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
    "stop": "stop",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
}
# `num_predict` is -1 for no limit, and -2 for the whole context.
_OUTPUT_LIMIT = "num_predict"
_COMMON = frozenset(
    {"format", "keep_alive", "model", "options", "shift", "stream", "stream_options", "think", "truncate"}
)
_OF_CHAT = _COMMON | {"messages", "tools"}
_OF_GENERATE = _COMMON | {"context", "images", "prompt", "raw", "suffix", "system", "template"}
# Fields of /api/generate that need the model's own tokens or template.
_UNSUPPORTED = {
    "context": "is not supported; send the conversation to /api/chat",
    "raw": "is not supported; chat models need their template",
    "suffix": "is not supported by chat models; remove it",
    "template": "is not supported; the server has the model's template",
}
_EFFORTS = ("low", "medium", "high", "max")
_LATEST = ":latest"
# How the base64 of a picture begins, by its format.
_PICTURES = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}


def prepared(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with Ollama's defaults: answers are streamed, and a model's name may end with `:latest`."""
    model = body.get("model")
    name = model.removesuffix(_LATEST) if isinstance(model, str) else model
    return {**body, **({} if model is None else {"model": name}), "stream": body.get("stream", True)}


def chat_to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`; for `/api/chat`."""
    messages = _Messages()
    for message, path in entries(body.get("messages"), "messages"):
        messages.add(message, path)
    if not messages.converted:
        reject("messages", "must be a list with at least one message")
    chat = {**_others(body, _OF_CHAT), **_common(body), "messages": messages.converted}
    if body.get("tools"):
        chat["tools"] = body["tools"]
    return chat


def generate_to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """See `ToChat`; for `/api/generate`."""
    for field, problem in _UNSUPPORTED.items():
        if body.get(field):
            reject(field, problem)
    messages = _Messages()
    if body.get("system"):
        messages.add({"role": "system", "content": body["system"]}, "system")
    content = non_empty_text(body.get("prompt"), "prompt")
    messages.add({"role": "user", "content": content, "images": body.get("images")}, "prompt")
    return {**_others(body, _OF_GENERATE), **_common(body), "messages": messages.converted}


def _others(body: Mapping[str, Any], converted: frozenset[str]) -> dict[str, Any]:
    return {field: value for field, value in body.items() if field not in converted}


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    chat: dict[str, Any] = {} if body.get("model") is None else {"model": body["model"]}
    options = fields_of(body.get("options") or {}, "options")
    chat |= {_OPTIONS[name]: value for name, value in options.items() if name in _OPTIONS and value is not None}
    limit = options.get(_OUTPUT_LIMIT)
    if limit is not None:
        if isinstance(limit, bool) or not isinstance(limit, int):
            reject(f"options.{_OUTPUT_LIMIT}", "must be a whole number")
        if limit > 0:
            chat["max_tokens"] = limit
    think = body.get("think")
    if isinstance(think, bool):
        chat["reasoning_effort"] = "medium" if think else NO_THINKING
    elif think in _EFFORTS:
        chat["reasoning_effort"] = think
    elif think is not None:
        reject("think", f"must be true, false or one of {', '.join(_EFFORTS)}")
    if body.get("format"):
        chat["response_format"] = _format(body["format"])
    if body.get("stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def _format(format_: Any) -> dict[str, Any]:
    if format_ == "json":
        return {"type": "json_object"}
    if not isinstance(format_, Mapping):
        reject("format", 'must be "json" or a JSON schema')
    return response_format("answer", format_)


class _Messages:
    """Ollama's messages in chat's words. Its calls have no ids, so their results are matched by name and order."""

    def __init__(self) -> None:
        self.converted: list[dict[str, Any]] = []
        self._calls = 0
        self._open: list[tuple[str, str]] = []

    def add(self, message: Mapping[str, Any], path: str) -> None:
        """Add one message."""
        role = message.get("role")
        text = text_of(message.get("content") or "", f"{path}.content")
        if role == "assistant":
            self._add_answer(message, text, path)
        elif role == "tool":
            content = _content(text, message, path)
            self.converted.append({"role": "tool", "tool_call_id": self._answered(message, path), "content": content})
        elif role in ("system", "user"):
            self.converted.append({"role": role, "content": _content(text, message, path)})
        else:
            reject(f"{path}.role", "must be system, user, assistant or tool")

    def _add_answer(self, message: Mapping[str, Any], text: str, path: str) -> None:
        answer: dict[str, Any] = {"role": "assistant", "content": text or None}
        if message.get("thinking"):
            answer["reasoning_content"] = text_of(message["thinking"], f"{path}.thinking")
        calls = []
        if message.get("tool_calls") and not self._continues_answer():
            # What the earlier turns' calls returned, if anything, came before this turn.
            self._open.clear()
        for call, call_path in entries(message.get("tool_calls"), f"{path}.tool_calls"):
            function = fields_of(call.get("function"), f"{call_path}.function")
            name = non_empty_text(function.get("name"), f"{call_path}.function.name")
            arguments = function.get("arguments")
            given = call.get("id")
            id_ = given if isinstance(given, str) and given else f"call_{self._calls}"
            self._calls += 1
            self._open.append((id_, name))
            encoded = arguments if isinstance(arguments, str) else json_bytes(arguments or {}).decode()
            calls.append({"id": id_, "type": "function", "function": {"name": name, "arguments": encoded}})
        if calls:
            answer["tool_calls"] = calls
        elif not text:
            answer["content"] = ""
        self.converted.append(answer)

    def _answered(self, message: Mapping[str, Any], path: str) -> str:
        """The id of the call whose result this message is."""
        given, name = message.get("tool_call_id"), message.get("tool_name") or message.get("name")
        for position, (id_, called) in enumerate(self._open):
            if given == id_ or (given is None and name in (None, called)):
                del self._open[position]
                return id_
        return reject(path, "is the result of a call that the assistant's last turn does not have")

    def _continues_answer(self) -> bool:
        """Whether the last message is the assistant's: clients may send each line of a stream as a message."""
        return bool(self.converted) and self.converted[-1]["role"] == "assistant"


def _content(text: str, message: Mapping[str, Any], path: str) -> Any:
    images = message.get("images")
    if not images:
        return text
    if not isinstance(images, list):
        reject(f"{path}.images", "must be a list")
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for number, image in enumerate(images):
        url = _picture(non_empty_text(image, f"{path}.images[{number}]"))
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _picture(image: str) -> str:
    if image.startswith(("data:", "http://", "https://")):
        return image
    kind = next((kind for start, kind in _PICTURES.items() if image.startswith(start)), "image/png")
    return f"data:{kind};base64,{image}"
