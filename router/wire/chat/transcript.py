"""Chat messages in the order that chat completions require."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.wire.reasoning import STATE, State, joined

Part = dict[str, Any]


class Transcript:
    """Builds the messages of a chat request.

    Chat requires tool results directly after the assistant message with the calls, and the calls of one turn in one
    message. Other protocols allow results after user text, and every call in an item of its own.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._states: list[State] = []
        self._after_results = 0

    def add_turn(self, role: str, parts: Sequence[Part]) -> None:
        """Add a message. An empty one is added only for the assistant, since tool calls may follow."""
        if not parts and role != "assistant":
            return
        self.messages.append({"role": role, "content": content_of(role, parts)})
        if role == "assistant":
            self._add_states()
        else:
            # Nothing followed that reasoning.
            self._states.clear()
        if role != "user":
            self._after_results = len(self.messages)

    def add_state(self, state: State) -> None:
        """Add what the server must get back with the assistant's turn that follows (`router.wire.reasoning`)."""
        self._states.append(state)

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
        if not turn["content"]:
            turn["content"] = None

    def add_tool_result(self, id_: str, parts: Sequence[Part], extra: Mapping[str, Any]) -> None:
        """Add a tool result after the calls and earlier results, before any user message that follows them.

        A tool message contains only text. Images and files follow in a user message that names the tool call.
        """
        texts = [part for part in parts if part["type"] == "text"]
        others = [part for part in parts if part["type"] != "text"]
        if texts and extra:
            texts[-1] = {**texts[-1], **extra}
        content = content_of("tool", texts) if texts else "(the result follows)" if others else ""
        self.messages.insert(self._after_results, {"role": "tool", "tool_call_id": id_, "content": content})
        self._after_results += 1
        if others:
            self.add_turn("user", [{"type": "text", "text": f"The result of the tool call {id_}:"}, *others])


def content_of(role: str, parts: Sequence[Part]) -> str | list[Part]:
    """The content of a message: a string where the parts can be joined to one, else the list of parts."""
    # Every server and chat template supports strings; many support a list of parts only in user messages.
    plain_text = all(part["type"] == "text" and len(part) == 2 for part in parts)
    if plain_text and (role != "user" or len(parts) < 2):
        return ("" if role == "assistant" else "\n").join(part["text"] for part in parts)
    return list(parts)
