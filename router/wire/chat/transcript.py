"""Chat messages, written in the order that chat completions demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Part = dict[str, Any]


class Transcript:
    """The messages of a chat request as they are written.

    Chat wants a tool's results directly after the assistant's turn that called it, and the calls of one turn in one
    message. Other protocols are freer: there results may stand behind the user's words, and each call by itself.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._after_results = 0

    def say(self, role: str, parts: Sequence[Part]) -> None:
        """Add a turn. One of no parts counts only for the assistant, whose calls may follow."""
        if not parts and role != "assistant":
            return
        self.messages.append({"role": role, "content": content_of(role, parts)})
        if role != "user":
            self._after_results = len(self.messages)

    def call(self, id_: str, name: str, arguments: str, extra: Mapping[str, Any]) -> None:
        """Add a tool call to the assistant's turn, which is the last, or a new one."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.say("assistant", ())
        turn = self.messages[-1]
        made = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}, **extra}
        turn.setdefault("tool_calls", []).append(made)
        if not turn["content"]:
            turn["content"] = None

    def answer_call(self, id_: str, parts: Sequence[Part], extra: Mapping[str, Any]) -> None:
        """Add a tool's result, before what the user said since the calls.

        A tool's message holds text alone. What else it returned follows as the user's, said to be the tool's.
        """
        words = [part for part in parts if part["type"] == "text"]
        shown = [part for part in parts if part["type"] != "text"]
        if words and extra:
            words[-1] = {**words[-1], **extra}
        content = content_of("tool", words) if words else "(the result follows)" if shown else ""
        self.messages.insert(self._after_results, {"role": "tool", "tool_call_id": id_, "content": content})
        self._after_results += 1
        if shown:
            self.say("user", [{"type": "text", "text": f"The result of the tool call {id_}:"}, *shown])


def content_of(role: str, parts: Sequence[Part]) -> str | list[Part]:
    """A message's content: a plain text where every server takes one, else the list of parts."""
    # A plain text is what every server and every chat template takes; many know a list of parts only from the user.
    plain = all(part["type"] == "text" and len(part) == 2 for part in parts)
    if plain and (role != "user" or len(parts) < 2):
        return ("" if role == "assistant" else "\n").join(part["text"] for part in parts)
    return list(parts)
