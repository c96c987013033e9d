"""A chat request: what the predictor needs of it, and the body that is sent upstream."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from router.errors import CallerError, FieldError
from router.formats.json import encodable
from router.types import Api
from router.wire.content_types import check_part_type
from router.wire.reading.needs import modality_of, needs_of
from router.wire.texts import OBJECT


class Turn(Struct, frozen=True):
    """One message of a conversation, its text parts joined."""

    role: str
    text: str


class ChatRequest(Struct, frozen=True, dict=True):
    """A client's request: what the predictor needs of it, and the body that is sent upstream.

    `body` is the client's JSON in the protocol `api`, including unknown fields; `chat_body` is the same as a
    chat-completions body, converted once, or None where chat cannot express it. In that case `native_only` is the
    reason why only an upstream that supports `api` itself can answer; otherwise it is empty.
    """

    turns: tuple[Turn, ...]
    modalities: frozenset[str] = frozenset({"text"})
    needs: frozenset[str] = frozenset()
    output_limit: int | None = None
    tool_characters: int = 0
    body: Mapping[str, Any] = {}
    api: Api = "chat"
    chat_body: Mapping[str, Any] | None = None
    native_only: str = ""

    @classmethod
    def from_prompt(cls, prompt: str) -> ChatRequest:
        """A request with one user message. Raises CallerError for an empty prompt."""
        return cls.from_body({"messages": [{"role": "user", "content": prompt}]})

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> ChatRequest:
        """The request in a chat-completions body. Raises CallerError that names the invalid field."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise FieldError("messages", "must be a list with at least one message")
        turns: list[Turn] = []
        modalities = {"text"}
        for position, message in enumerate(messages):
            turn, seen = _read_message(message, position)
            turns.append(turn)
            modalities.update(seen)
        needs = needs_of(body)
        human, characters = _human_turns(turns), _characters(turns)
        # Where the user wrote something, not all turns are blank.
        if all(map(_is_blank, human)) and len(modalities) == 1 and "files" not in needs:
            raise CallerError("the prompt is empty")
        request = cls(
            turns=tuple(turns),
            modalities=_TEXT if len(modalities) == 1 else frozenset(modalities),
            needs=needs,
            output_limit=None if _LIMITS.isdisjoint(body) else _output_limit(body),
            tool_characters=0 if _TOOLS.isdisjoint(body) else _tool_characters(body),
            body=body,
            chat_body=body,
        )
        # Every stage reads these: so only parsing takes longer for a longer conversation. To set what is cached is
        # several times faster than to ask for it.
        vars(request).update(human_turns=human, characters=characters)
        return request

    @functools.cached_property
    def human_turns(self) -> tuple[str, ...]:
        """The texts of the user's turns, oldest first; every turn's where no turn is the user's."""
        return _human_turns(self.turns)

    @functools.cached_property
    def characters(self) -> int:
        """The number of characters in all turns."""
        return _characters(self.turns)


def _human_turns(turns: Sequence[Turn]) -> tuple[str, ...]:
    human = tuple([turn.text for turn in turns if turn.role == "user" and not _is_blank(turn.text)])
    return human or tuple([turn.text for turn in turns])


def _characters(turns: Sequence[Turn]) -> int:
    return sum([len(turn.text) for turn in turns])


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def wants_stream(body: Mapping[str, Any]) -> bool:
    """Whether the client requests server-sent events. Raises FieldError where `stream` is not a boolean."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise FieldError("stream", "must be true or false")
    return bool(stream)


def wants_stream_usage(body: Mapping[str, Any]) -> bool:
    """Whether the client requests the event that reports the usage of a stream."""
    options = body.get("stream_options")
    return bool(options.get("include_usage")) if isinstance(options, Mapping) else False


_MAX_OUTPUT = 1_000_000_000
_TEXT = frozenset({"text"})
_LIMITS = frozenset({"max_completion_tokens", "max_tokens"})
_TOOLS = frozenset({"functions", "tools"})


def _read_message(message: Any, position: int) -> tuple[Turn, Collection[str]]:
    if not isinstance(message, OBJECT):
        raise FieldError(f"messages[{position}]", "must be an object with `role` and `content`")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or not role:
        raise FieldError(f"messages[{position}].role", "must be a role such as user, assistant or system")
    if content is None or isinstance(content, str):
        return Turn(role, encodable(content or "")), ()
    path = f"messages[{position}]"
    if not isinstance(content, list):
        raise FieldError(f"{path}.content", "must be a string or a list of parts")
    texts: list[str] = []
    modalities: set[str] = set()
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(kind, str):
            raise FieldError(f"{path}.content[{number}]", "must be an object with a `type`")
        check_part_type(kind, f"{path}.content[{number}]")
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        if modality := modality_of(part):
            modalities.add(modality)
    return Turn(role, encodable("\n".join(texts))), modalities


def _tool_characters(body: Mapping[str, Any]) -> int:
    tools = body.get("tools") or body.get("functions")
    if not tools:
        return 0
    if not isinstance(tools, list):
        raise FieldError("tools", "must be a list")
    return len(repr(tools))


def _output_limit(body: Mapping[str, Any]) -> int | None:
    for field in ("max_completion_tokens", "max_tokens"):
        limit = body.get(field)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= _MAX_OUTPUT:
            raise FieldError(field, f"must be a whole number between 0 and {_MAX_OUTPUT}")
        # The meaning of 0 depends on the upstream, so it counts as no limit here.
        return limit or None
    return None
