"""Task files: what is to be solved, a few examples with their answers, and the limits that a solution must meet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from router.cards.catalog import Catalog
from router.decide.flags import Flags, parse_flags
from router.decide.limits import Limit
from router.errors import CallerError, FileError, FlagError, did_you_mean
from router.formats.json_schema import file_schema
from router.formats.yaml.file import convert, read_mapping
from router.formats.yaml.parsed import KeyPath
from router.learn.data.prompts import Prompt, PromptRow
from router.learn.onboarding.probes import Probe, probe_of
from router.wire.chat.request import ChatRequest

Kind = Literal["single", "cascade", "committee", "best_of"]
KINDS: tuple[Kind, ...] = ("single", "cascade", "committee", "best_of")
"""The kinds of plans that are tried. `single` is a card that answers alone."""

_NOT_TRIED: Mapping[str, str] = {
    "reroute": "it hands over by what is forecast of the request with a draft beside it, which recorded answers do not "
    "show; name it in a policy and compare on real requests",
    "samples": "it needs several answers of one card to every example, and each card is asked once",
    "panel": "what its writer makes of the answers would have to be asked again for every choice of members",
    "segments": "it splits prompts of several tasks, and an example is one task with one answer",
    "chain": "its stages read what other stages wrote, and cards are asked the examples themselves",
}
"""Why plans of the other kinds cannot be compared on recorded answers."""


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """One request, as clients send it, and its right answer; several in a list: any of them is right.

    `grader` is one of `router.learn.onboarding.graders.GRADERS`; without one the answer determines it.
    """

    answer: Any
    prompt: Annotated[str, Meta(min_length=1)] | None = None
    messages: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)] | None = None
    grader: str | UnsetType = UNSET
    id: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class TaskFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A task. `limits` are flags such as `cost<0.002$`; every plan that is returned meets them.

    `cards` are the ids of those that may be asked, none meaning all. `max_usd` is what the task may cost in all, over
    all runs; `max_tokens` the most that one answer may have. `mistake_usd` is what a wrong answer costs, by default as
    the policy states it.
    """

    description: Annotated[str, Meta(min_length=1, max_length=2000)]
    examples: Annotated[tuple[Example, ...], Meta(min_length=2, max_length=2000)]
    limits: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = KINDS
    max_usd: Annotated[float, Meta(gt=0, le=100_000)] = 1.0
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 2048
    mistake_usd: Annotated[float, Meta(gt=0, le=1e6)] | None = None


class Task(Struct, frozen=True):
    """A task that was read and checked. `cards` are ids, `probes` the examples as they are graded."""

    name: str
    description: str
    probes: tuple[Probe, ...]
    limits: tuple[Limit, ...]
    cards: tuple[str, ...]
    kinds: tuple[Kind, ...]
    max_usd: float
    max_tokens: int
    mistake_usd: float | None = None

    def key_of(self, probe: Probe) -> str:
        """What an answer depends on beside the card: the request that is sent."""
        sent = [self.max_tokens, list(probe.messages)]
        return hashlib.sha256(msgspec.json.encode(sent, order="deterministic")).hexdigest()[:16]


def json_schema() -> Mapping[str, Any]:
    """The JSON Schema of a task file."""
    return file_schema(TaskFile, "Pulvinar task")


def load_task(file: Path, catalog: Catalog) -> Task:
    """Read a task. Raises FileError naming file, line and key, with the likely intention."""
    document, lines = read_mapping(file, "a task (keys and values)")
    _check_kinds(document.get("kinds"), file, lines)
    read = convert(document, TaskFile, file, lines)

    def fail(path: KeyPath, problem: str) -> FileError:
        line = next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), None)
        return FileError(str(file), line, f"{'.'.join(map(str, path))}: {problem}")

    limits: list[Limit] = []
    for number, text in enumerate(read.limits):
        limits += _limits(text, lambda problem, at=number: fail(("limits", at), problem))
    try:
        parse_flags(",".join(limit.text for limit in limits))
    except FlagError as error:
        raise fail(("limits",), error.problem) from None
    cards = []
    for number, name in enumerate(read.cards):
        if catalog.position(name) is None:
            raise fail(("cards", number), f'there is no card "{name}"{did_you_mean(name, catalog.ids)}')
        cards.append(catalog.named(name).id)
    probes: dict[str, Probe] = {}
    for number, example in enumerate(read.examples):
        path: KeyPath = ("examples", number)
        name = example.id or str(number + 1)
        if name in probes:
            raise fail((*path, "id"), f'"{name}" is the id of another example too')
        probes[name] = _probe(example, name, file, lines, path)
    repeated = _repeated([probe.messages for probe in probes.values()])
    if repeated is not None:
        first, second = repeated
        raise fail(("examples", second), f"asks the same as examples.{first}; each must be a request of its own")
    return Task(
        name=file.stem,
        description=read.description.strip(),
        probes=tuple(probes.values()),
        limits=tuple(limits),
        cards=tuple(dict.fromkeys(cards)),
        kinds=tuple(dict.fromkeys(read.kinds)),
        max_usd=read.max_usd,
        max_tokens=read.max_tokens,
        mistake_usd=read.mistake_usd,
    )


def _check_kinds(kinds: Any, file: Path, lines: Mapping[KeyPath, int]) -> None:
    """Say of a kind of plan that exists and is not tried why that is so."""
    for number, kind in enumerate(kinds if isinstance(kinds, list) else ()):
        if isinstance(kind, str) and kind in _NOT_TRIED:
            problem = f"plans of kind {kind} are not tried: {_NOT_TRIED[kind]} (tried: {', '.join(KINDS)})"
            raise FileError(str(file), lines.get(("kinds", number)), f"kinds.{number}: {problem}")


def _limits(text: str, fail: Any) -> Sequence[Limit]:
    try:
        flags: Flags = parse_flags(text)
    except FlagError as error:
        raise fail(error.problem) from None
    if flags.goals:
        goal = next(iter(flags.goals))
        raise fail(
            f"{goal} is a goal; a task has limits such as cost<0.002$, and the result shows what each plan costs"
        )
    return flags.limits


def _probe(example: Example, name: str, file: Path, lines: Mapping[KeyPath, int], path: KeyPath) -> Probe:
    line = lines.get(path)
    if (example.prompt is None) == (example.messages is None):
        raise FileError(str(file), line, f"{'.'.join(map(str, path))}: state either prompt or messages")
    messages = list(example.messages) if example.messages is not None else None
    body = {"messages": messages or [{"role": "user", "content": example.prompt}]}
    try:
        turns = ChatRequest.from_body(body).human_turns
    except CallerError as error:
        raise FileError(str(file), line, f"{'.'.join(map(str, path))}: {error}") from None
    if not turns:
        raise FileError(str(file), line, f"{'.'.join(map(str, path))}: has no message of the role user")
    fields: dict[str, Any] = {"answer": example.answer, "messages": body["messages"]}
    if example.grader is not UNSET:
        fields["grader"] = example.grader
    at = next((lines[each] for each in ((*path, "grader"), (*path, "answer")) if each in lines), line)
    return probe_of(PromptRow(at or 1, fields, Prompt(name, turns)), file)


def _repeated(requests: Sequence[Any]) -> tuple[int, int] | None:
    seen: dict[bytes, int] = {}
    for number, request in enumerate(requests):
        key = msgspec.json.encode(request, order="deterministic")
        if key in seen:
            return seen[key], number
        seen[key] = number
    return None
