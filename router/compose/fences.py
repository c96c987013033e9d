"""Blocks between fences (```) in a text. Read line by line, so that no text takes more than linear time."""

from __future__ import annotations

from typing import NamedTuple

_FENCE = "```"


class Block(NamedTuple):
    """A fenced block. `language` is the word after the opening fence, in lower case; `is_all`: the text has no more."""

    language: str
    text: str
    is_all: bool


def fenced_blocks(text: str) -> list[Block]:
    """The complete blocks of `text`, in order. A block may end within a line."""
    blocks: list[Block] = []
    at = text.find(_FENCE)
    while at >= 0:
        line_end = text.find("\n", at)
        if line_end < 0:
            break
        end = text.find(_FENCE, line_end + 1)
        if end < 0:
            break
        words = text[at + len(_FENCE) : line_end].split(maxsplit=1)
        is_all = not blocks and not text[:at].strip() and not text[end + len(_FENCE) :].strip()
        body = text[line_end + 1 : end].rstrip(" \t").removesuffix("\n")
        blocks.append(Block(words[0].lower() if words else "", body, is_all))
        at = text.find(_FENCE, end + len(_FENCE))
    return blocks
