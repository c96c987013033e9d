"""The prompts of a data set: one JSON object a line, with `prompt_id`, `prompt` or `messages`, and `domain`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from router.errors import CallerError, FileError, did_you_mean
from router.formats.json import encodable
from router.learn.data.text_file import decode_json, open_text
from router.wire.chat.request import ChatRequest


class Prompt(Struct, frozen=True):
    """One prompt: its human turns, oldest first, and its domain."""

    id: str
    turns: tuple[str, ...]
    domain: str = ""


class PromptRow(NamedTuple):
    """A prompt with the number of its line and the object on it, which may have further keys."""

    line: int
    fields: dict[str, Any]
    prompt: Prompt


def read_prompts(file: Path) -> tuple[Prompt, ...]:
    """Read every line of a `.jsonl` or `.jsonl.gz` file. Raises FileError naming the line."""
    return tuple(row.prompt for row in read_prompt_rows(file))


def read_prompt_rows(file: Path) -> Iterator[PromptRow]:
    """Read the lines of a `.jsonl` or `.jsonl.gz` file one by one. Raises FileError naming the line."""
    first_line: dict[str, int] = {}
    domains: dict[str, str] = {}
    with open_text(file, "\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            fields = decode_json(line, file, number)
            prompt = _prompt(fields, file, number, domains)
            if prompt.id in first_line:
                first = first_line[prompt.id]
                raise FileError(str(file), number, f'duplicate prompt_id "{prompt.id}" (first on line {first})')
            first_line[prompt.id] = number
            yield PromptRow(number, fields, prompt)
    if not first_line:
        raise FileError(str(file), None, "contains no prompts")


def _prompt(fields: Any, file: Path, line: int, domains: dict[str, str]) -> Prompt:
    """The prompt that a line describes. `domains` has the names read so far, so that equal names share one string."""
    if not isinstance(fields, dict):
        raise FileError(str(file), line, "expected an object with prompt_id and prompt")
    identity, text = fields.get("prompt_id"), fields.get("prompt")
    if identity is None:
        raise FileError(str(file), line, "prompt_id: is missing")
    if not str(identity).strip() or isinstance(identity, dict | list | bool | float):
        raise FileError(str(file), line, "prompt_id: expected a text or a whole number")
    if "messages" in fields:
        try:
            turns = ChatRequest.from_body(fields).human_turns
        except CallerError as error:
            raise FileError(str(file), line, str(error)) from None
    elif isinstance(text, str):
        turns = (encodable(text),)
    else:
        hint = f"; got {json.dumps(text)[:40]}" if "prompt" in fields else did_you_mean("prompt", fields.keys())
        raise FileError(str(file), line, f"prompt: expected a text{hint}")
    domain = encodable(str(fields.get("domain") or ""))
    return Prompt(encodable(str(identity)), turns, domains.setdefault(domain, domain))
