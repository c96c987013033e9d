"""Chat messages in the order that chat completions require."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.wire.reasoning import STATE, State, joined

Part = dict[str, Any]


class Transcript:
    """Builds the messages of a chat request.

    Chat requires tool results directly after the assistant message with the calls, and the calls of one turn in one
    message. Other protocols allow results after other messages, and every call, text and state of a turn in an item of
    its own, in any order.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._states: list[State] = []
        # The assistant's message with the newest call of each id.
        self._callers: dict[str, dict[str, Any]] = {}

    def add_turn(self, role: str, parts: Sequence[Part]) -> None:
        """Add a message. An empty one is added only for the assistant, since tool calls may follow."""
        if not parts and role != "assistant":
            return
        if role != "assistant":
            # Nothing followed that reasoning.
            self._states.clear()
            self.messages.append({"role": role, "content": content_of(role, parts)})
            return
        if turn := self._calling_turn():
            if parts:
                turn["content"] = _joined(turn["content"], content_of(role, parts))
        else:
            self.messages.append({"role": role, "content": content_of(role, parts)})
        self._add_states()

    def add_state(self, state: State) -> None:
        """Add what the server must get back with the assistant's turn (`router.wire.reasoning`): the last one while its
        calls have no results, since servers sign a call after it, else the one that follows.
        """
        self._states.append(state)
        if self._calling_turn():
            self._add_states()

    def _calling_turn(self) -> dict[str, Any] | None:
        """The last message if it calls tools: nothing has answered it yet, so its turn may go on."""
        turn = self.messages[-1] if self.messages else None
        return turn if turn is not None and turn.get("tool_calls") else None

    def _add_states(self) -> None:
        if self._states:
            turn = self.messages[-1]
            turn[STATE] = joined([turn[STATE], *self._states] if STATE in turn else self._states)
            self._states.clear()

    def add_tool_call(self, id_: str, name: str, arguments: str, extra: Mapping[str, Any]) -> None:
        """Add a tool call to the last message if it is the assistant's, else to a new one."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.add_turn("assistant", ())
        self._add_states()
        turn = self.messages[-1]
        tool_call = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **extra}
        turn.setdefault("tool_calls", []).append(tool_call)
        self._callers[id_] = turn
        if not turn["content"]:
            turn["content"] = None

    def add_tool_result(self, id_: str, parts: Sequence[Part], extra: Mapping[str, Any]) -> None:
        """Add a tool result after its call and the results before it, before any other message that follows them.

        A tool message contains only text. Images and files follow in a user message that names the tool call.
        """
        texts = [part for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if texts and extra:
            texts[-1] = {**texts[-1], **extra}
        content = content_of("tool", texts) if texts else "(the result follows)" if others else ""
        self.messages.insert(self._place_of_result(id_), {"role": "tool", "tool_call_id": id_, "content": content})
        if others:
            self.add_turn("user", [{"type": "text", "text": f"The result of the tool call {id_}:"}, *others])

    def _place_of_result(self, id_: str) -> int:
        """The position after the call of this id and the results that it has; without one, after the last message that
        is not the user's.
        """
        caller = self._callers.get(id_)
        messages = self.messages
        place = len(messages)
        while place and (
            messages[place - 1]["role"] == "user" if caller is None else messages[place - 1] is not caller
        ):
            place -= 1
        while place < len(messages) and messages[place]["role"] == "tool":
            place += 1
        return place


def _joined(first: str | list[Part] | None, second: str | list[Part]) -> str | list[Part]:
    """Both contents of an assistant's turn: a string where both are."""
    if not first:
        return second
    if isinstance(first, str) and isinstance(second, str):
        return first + second
    return [*_parts_of(first), *_parts_of(second)]


def _parts_of(content: str | list[Part]) -> list[Part]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def content_of(role: str, parts: Sequence[Part]) -> str | list[Part]:
    """The content of a message: a string where the parts can be joined to one, else the list of parts."""
    # Every server and chat template supports strings; many support a list of parts only in user messages.
    plain_text = all(part["type"] == "text" and len(part) == 2 for part in parts)
    if plain_text and (role != "user" or len(parts) < 2):
        return ("" if role == "assistant" else "\n").join(part["text"] for part in parts)
    return list(parts)
