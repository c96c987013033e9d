"""The messages of a chat body in the dialect of a server: roles, contents and tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.formats.json import json_bytes, json_or_none
from router.wire.chat.answer import INVALID_ARGUMENTS
from router.wire.chat.transcript import content_of
from router.wire.dialect.rules import Dialect
from router.wire.fields import reject

_CACHE_CONTROL = "cache_control"
# Fields with which a message is not empty, even without content.
_SAYS_SOMETHING = ("audio", "function_call", "refusal", "thinking_blocks", "tool_calls")
# No such type is registered, and Anthropic rejects it.
_WRONG_JPEG, _JPEG = "data:image/jpg;", "data:image/jpeg;"
_PLAIN_ROLES = ("assistant", "system", "user")
_MAY_BE_EMPTY = ("assistant", "tool", "user")


def fit_messages(messages: Sequence[Any], dialect: Dialect) -> list[Any]:
    """The messages as the server accepts them. Raises FieldError for a content part that it cannot read."""
    fitted = [
        message if _is_plain(message, dialect) else _fit(message, dialect, f"messages[{position}]")
        for position, message in enumerate(messages)
    ]
    kept = fitted if None not in fitted else [message for message in fitted if message is not None] or fitted
    if not dialect.system_alone and kept and all(map(_is_system, kept)):
        kept[-1] = {**kept[-1], "role": "user"}
    kept = _with_leading_system(kept) if dialect.system == "leading" else kept
    return _alternating(kept) if dialect.alternating else kept


def are_plain(messages: Any, dialect: Dialect) -> bool:
    """Whether these are messages with a role and a text alone, which the server accepts as they are."""
    if not isinstance(messages, list) or dialect.alternating or not dialect.system_alone:
        return False
    for message in messages:
        if not _is_plain(message, dialect) or len(message) != 2:
            return False
    return dialect.system == "anywhere" or not any(map(_is_system, messages[1:]))


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "system"


def without_cache_control(item: Any) -> Any:
    """The item without its cache breakpoint. Items of the wrong type are left for the upstream to reject."""
    if not isinstance(item, Mapping) or _CACHE_CONTROL not in item:
        return item
    return {name: value for name, value in item.items() if name != _CACHE_CONTROL}


def _fit(message: Any, dialect: Dialect, path: str) -> Any:
    """The message; None where it is empty and the server accepts no empty ones."""
    if not isinstance(message, dict):
        return message
    fitted = dict(message)
    if fitted.get("role") == "developer" and not dialect.developer:
        fitted["role"] = "system"
    if not dialect.named_turns and fitted.get("role") != "tool":
        fitted.pop("name", None)
    if isinstance(fitted.get("content"), list):
        fitted["content"] = _fit_parts(fitted["content"], dialect, str(fitted.get("role")), path)
    if fitted.get("tool_calls") in ([], None):
        # OpenAI and others reject an empty list, which many clients send.
        fitted.pop("tool_calls", None)
    elif isinstance(fitted["tool_calls"], list):
        fitted["tool_calls"] = [_fit_call(call, dialect) for call in fitted["tool_calls"]]
    if fitted.get("role") == "tool" and isinstance(fitted.get("tool_call_id"), str):
        fitted["tool_call_id"] = _fit_id(fitted["tool_call_id"], dialect)
    if not dialect.empty_texts and fitted.get("role") in _MAY_BE_EMPTY and not _fit_blanks(fitted):
        return None
    return fitted


def _is_plain(message: Any, dialect: Dialect) -> bool:
    """Whether the message is one of text alone, which every dialect accepts: most are, and this is quick."""
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    return (
        isinstance(content, str)
        and message.get("role") in _PLAIN_ROLES
        and "tool_calls" not in message
        and (dialect.named_turns or "name" not in message)
        and (dialect.empty_texts or not (content == "" or content.isspace()))
    )


def _fit_parts(parts: list[Any], dialect: Dialect, role: str, path: str) -> Any:
    for position, part in enumerate(parts):
        _check_part(part, dialect, f"{path}.content[{position}]")
    parts = [_with_media_type(part) for part in parts]
    if dialect.plain_texts and parts and all(map(_is_text, parts)):
        return "\n".join(part["text"] for part in parts)
    if dialect.cache_control or not any(_CACHE_CONTROL in part for part in parts if isinstance(part, Mapping)):
        return parts
    return content_of(role, [without_cache_control(part) for part in parts])


def _with_media_type(part: Any) -> Any:
    """The part with the registered name of its media type."""
    image = part.get("image_url") if isinstance(part, Mapping) else None
    url = image.get("url") if isinstance(image, Mapping) else None
    if not isinstance(image, Mapping) or not isinstance(url, str) or not url.startswith(_WRONG_JPEG):
        return part
    return {**part, "image_url": {**image, "url": _JPEG + url[len(_WRONG_JPEG) :]}}


def _fit_blanks(fitted: dict[str, Any]) -> bool:
    """Remove texts of spaces alone. Whether the message still says something."""
    content = fitted["content"] = _without_blanks(fitted.get("content"))
    if not content and fitted["role"] == "tool":
        fitted["content"] = ""
        return True
    if not content and fitted.get("tool_calls"):
        fitted["content"] = None
    return bool(content) or any(fitted.get(field) for field in _SAYS_SOMETHING)


def _check_part(part: Any, dialect: Dialect, path: str) -> None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(kind, str) and kind in dialect.refused_parts:
        reject(f"{path}.type", f'is "{kind}", which {dialect.name} cannot read; name a model whose server can')
    if kind == "file" and not dialect.file_ids:
        file = part.get("file")
        if isinstance(file, Mapping) and file.get("file_id") and not file.get("file_data"):
            reject(
                f"{path}.file.file_id", f"is a file stored elsewhere, which {dialect.name} cannot read; send its data"
            )


def _without_blanks(content: Any) -> Any:
    """The content without texts of spaces alone; None or an empty list where nothing is left."""
    if isinstance(content, str):
        return content if content.strip() else None
    if not isinstance(content, list):
        return content
    return [part for part in content if not _is_blank(part)]


def _is_blank(part: Any) -> bool:
    return _is_text(part) and not part["text"].strip()


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _fit_call(call: Any, dialect: Dialect) -> Any:
    if not isinstance(call, dict):
        return call
    function, id_ = call.get("function"), call.get("id")
    if isinstance(function, dict) and "arguments" in function:
        arguments = _fit_arguments(function["arguments"])
        if arguments is not function["arguments"]:
            call = {**call, "function": {**function, "arguments": arguments}}
    if isinstance(id_, str) and (fitting := _fit_id(id_, dialect)) != id_:
        call = {**call, "id": fitting}
    return call if dialect.cache_control else without_cache_control(call)


def _fit_arguments(arguments: Any) -> Any:
    """Arguments as JSON: `{}` for none. A model may have written what is no JSON, or was cut; most servers parse it,
    and would reject every later request of the conversation.
    """
    if arguments in ("", "null", None):
        return "{}"
    if not isinstance(arguments, str) or json_or_none(arguments.encode("utf-8", "surrogatepass")) is not None:
        return arguments
    return json_bytes({INVALID_ARGUMENTS: arguments}).decode()


def _fit_id(id_: str, dialect: Dialect) -> str:
    """The id of a tool call in the form that the server accepts: the same for the same id."""
    if not dialect.call_id:
        return id_
    # Imported here: cards import this module, and the command line needs no other protocol.
    from router.wire.messages.history import fitting_id

    return fitting_id(id_, dialect.call_id, dialect.call_id_characters)


def _with_leading_system(messages: list[Any]) -> list[Any]:
    """The messages with one system message, which is the first."""
    system = [message for message in messages if isinstance(message, dict) and message.get("role") == "system"]
    if not system or (len(system) == 1 and messages[0] is system[0]):
        return messages
    others = [message for message in messages if not any(message is one for one in system)]
    contents = [message.get("content") for message in system]
    return [{**system[0], "content": _joined(contents)}, *others]


def _alternating(messages: list[Any]) -> list[Any]:
    """The messages with neighbours of the same role as one, where they have nothing but contents."""
    merged: list[Any] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last is not None and _may_merge(last, message):
            merged[-1] = {**last, "content": _joined([last.get("content"), message.get("content")])}
        else:
            merged.append(message)
    return merged


def _may_merge(first: Any, second: Any) -> bool:
    both = [message for message in (first, second) if isinstance(message, dict)]
    return (
        len(both) == 2
        and first.get("role") == second.get("role") in _PLAIN_ROLES
        and all(message.keys() <= {"role", "content"} for message in both)
    )


def _joined(contents: Sequence[Any]) -> Any:
    """Contents as one: a text where all are texts, else a list of parts."""
    if all(isinstance(content, str) or content is None for content in contents):
        return "\n\n".join(content for content in contents if content)
    parts: list[Any] = []
    for content in contents:
        parts += content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
    return parts
