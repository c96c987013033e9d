"""The parts of a prompt: how each is asked, and how its answer begins in the joined one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.compose.run.chat import messages_of, newest_of_user, with_messages
from router.compose.split import Split
from router.dispatch import Call


def beginning(parts: Split, number: int) -> str:
    """What is written before an answer: what parts it from the one before, and its number where the tasks have one."""
    between = "" if number == 0 else "\n" if parts.is_numbered else "\n\n"
    return between + (f"{number + 1}. " if parts.is_numbered else "")


def segment_call(call: Call, parts: Split, number: int, before: str | None) -> Call:
    """The chat call of one task: with the examples and the instructions that are common to all, and where it depends on
    the task before, with that one and its answer as turns of the conversation.
    """
    messages = messages_of(call)
    at = newest_of_user(messages)
    assert at is not None
    common = [part for part in (parts.examples, parts.instructions) if part]
    turns: list[Mapping[str, Any]] = []
    if before is not None:
        turns = [
            {"role": "user", "content": parts.segments[number - 1].text},
            {"role": "assistant", "content": before},
        ]
    text = "\n\n".join([*common, parts.segments[number].text])
    own = {**messages[at], "content": text}
    return with_messages(call, [*messages[:at], *turns, own, *messages[at + 1 :]])
