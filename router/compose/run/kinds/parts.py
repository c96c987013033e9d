"""The parts of a prompt: how each is asked, and how its answer begins in the joined one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from router.compose.run.chat import messages_of, newest_of_user, with_messages
from router.decide.plans.segments import Group
from router.dispatch import Call

if TYPE_CHECKING:
    from router.compose.split import Split

_NUMBER = re.compile(r"\W*(\d+)[.):]")


def beginning(parts: Split, group: Group, text: str) -> str:
    """What is written before an answer: what parts it from the one before, and its number where the tasks have one and
    it does not begin with that itself.
    """
    first = group.segments[0]
    between = "" if first == 0 else "\n" if parts.is_numbered else "\n\n"
    if not parts.is_numbered:
        return between
    own = _NUMBER.match(text) if len(group.segments) > 1 else None
    return between if own is not None and int(own[1]) == first + 1 else f"{between}{first + 1}. "


def group_call(call: Call, parts: Split, group: Group, before: tuple[Group, str] | None) -> Call:
    """The chat call of some tasks: with the examples and the instructions that are common to all, and where they depend
    on tasks before, with those and their answer as turns of the conversation.
    """
    messages = messages_of(call)
    at = newest_of_user(messages)
    assert at is not None
    common = [part for part in (parts.examples, parts.instructions) if part]
    turns: list[Mapping[str, Any]] = []
    if before is not None:
        earlier, answer = before
        turns = [{"role": "user", "content": _asked(parts, earlier)}, {"role": "assistant", "content": answer}]
    own = {**messages[at], "content": "\n\n".join([*common, _asked(parts, group)])}
    return with_messages(call, [*messages[:at], *turns, own, *messages[at + 1 :]])


def _asked(parts: Split, group: Group) -> str:
    """The texts of the tasks; several with the numbers that their answers have."""
    texts = [parts.segments[number].text for number in group.segments]
    if len(texts) == 1:
        return texts[0]
    if not parts.is_numbered:
        return "\n\n".join(texts)
    return "\n".join(f"{number + 1}. {text}" for number, text in zip(group.segments, texts, strict=True))
