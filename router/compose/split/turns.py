"""Tasks marked as requests to a model are: `[INST]` blocks, and turns of the user in chat templates."""

from __future__ import annotations

import re
from collections.abc import Sequence

from router.compose.split.marked import Marked
from router.compose.split.words import announces_tasks

_BLOCK = re.compile(r"\[INST\]((?:(?!\[INST\]).)*?)\[/INST\]", re.DOTALL | re.IGNORECASE)
_SYSTEM = re.compile(r"\s*<<SYS>>.*?<</SYS>>\s*", re.DOTALL)
_TOKEN = re.compile(r"</?s>|\[/?INST\]|<</?SYS>>|<[|｜][\w▁ ]{1,30}[|｜]>|<(?:bos|eos|end_of_turn)>", re.IGNORECASE)
# What may stand between two blocks of one group: a number or a name for the next one, or a word that joins them.
_NAME = re.compile(
    r"(?:[^\W\d]{1,12}[ \t]*)?(?:no\.?[ \t]*)?[#(\[]?(?P<number>\d{1,2})[.)\]:：]*[ \t]*[-–—]?[ \t]*\Z", re.IGNORECASE
)
_LONGEST_NAME = 40
_JOINING = ("", "and", "also", "and also", "then", "-", "*", "•", "---")
_HEAD = re.compile(
    r"<(?:\|im_start\||\|start_header_id\||start_of_turn|\|turn\|?)>[ \t]*(?P<role>\w+)(?:<\|end_header_id\|>)?"
    r"|<[|｜](?P<alone>user|human|prompter|system|assistant|model|bot)[|｜]>",
    re.IGNORECASE,
)
_ANY_HEAD = ("<|", "<｜", "<start_of_turn>")
_TURN_END = re.compile(r"<\|(?:im_end|eot_id|eom_id|end|end_of_turn|endoftext)\|>|<end_of_turn>|</s>")
_OF_USER = ("user", "human", "prompter")


def without_tokens(text: str) -> str:
    """`text` without the tokens of chat templates."""
    return _TOKEN.sub("", text).strip() if "<" in text or "[" in text else text.strip()


def instruction_blocks(text: str) -> Marked | None:
    """`[INST] … [/INST]`: the last group that stands together; groups before it are answered examples."""
    blocks = list(_BLOCK.finditer(text)) if "[/" in text else []
    if len(blocks) < 2:
        return None
    first, before, number = 0, 0, 0
    for place, block in enumerate(blocks):
        between = _TOKEN.sub(" ", text[before : block.start()]).strip()
        name = _NAME.search(between[-_LONGEST_NAME:])
        follows = name is not None and int(name["number"]) == number + 1
        rest = between[: -len(name.group())].strip() if name is not None and follows else between
        if place and rest.rstrip(",;").lower() not in _JOINING:
            first = place
            # The first of a group may have a number too.
            follows = name is not None and int(name["number"]) == 1
        number = int(name["number"]) if name is not None and (follows or not place) else 0
        before = block.end()
    return Marked(
        tuple(_without_system(text, match.span(1)) for match in blocks),
        tuple(match.start() for match in blocks),
        first,
        is_numbered=number > 1,
        explicit=True,
        end=blocks[-1].end(),
        certain=True,
    )


def _without_system(text: str, span: tuple[int, int]) -> tuple[int, int]:
    found = _SYSTEM.match(text, *span)
    return span if found is None else (found.end(), span[1])


def turns(text: str) -> Marked | None:
    """Several turns of the user, one after the other without an answer: the last such group of a chat."""
    if not any(head in text for head in _ANY_HEAD):
        return None
    heads = list(_HEAD.finditer(text))
    if len(heads) < 2:
        return None
    ends = [*(head.start() for head in heads[1:]), len(text)]
    parts = [(head, *_words_of(text, head.end(), end)) for head, end in zip(heads, ends, strict=True)]
    users = [
        (number, head, start, end)
        for number, (head, start, end) in enumerate(parts)
        if (head["role"] or head["alone"]).lower() in _OF_USER
    ]
    group = _last_group(parts, text)
    if len(group) < 2:
        return None
    first = next(place for place, (number, *_) in enumerate(users) if number == group[0])
    begins = text[: heads[0].start()]
    is_chat = not without_tokens(begins) or announces_tasks(begins)
    return Marked(
        tuple((start, end) for _, _, start, end in users),
        tuple(head.start() for _, head, _, _ in users),
        first,
        explicit=True,
        end=parts[-1][2],
        certain=is_chat,
    )


def _words_of(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the words of a turn stand, without the token that ends it."""
    found = _TURN_END.search(text, start, end)
    return start, end if found is None else found.start()


def _last_group(parts: Sequence[tuple[re.Match[str], int, int]], text: str) -> list[int]:
    """The numbers of the turns of the user since the newest answer that says something."""
    roles = [(head["role"] or head["alone"]).lower() for head, *_ in parts]
    group: list[int] = []
    for number, (role, (_, start, end)) in enumerate(zip(roles, parts, strict=True)):
        if role in _OF_USER:
            group.append(number)
        elif role != "system" and text[start:end].strip():
            group = []
    return group
