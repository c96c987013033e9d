"""Composite prompts on a real llama.cpp server with LoRA adapters, called as the gateway's cards are.

Every part goes through the dispatcher to a card with `lora_slots`. Compared: segments, each to the adapter that the
router takes for it; the base and each adapter alone with the whole prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench.composite.adapter_tasks import TASKS
from bench.composite.oracle import PLAIN, graded, scores_of
from bench.composite.prompts import Task
from router import settings
from router.cards import Card, Catalog
from router.compose.split import Split, split
from router.decide.plans.segments import plan_segments
from router.decide.policy import Policies
from router.dispatch import Call, Dispatcher, DispatchSettings
from router.dispatch.stream import EventStream
from router.loading import load_predictor
from router.pipeline import Router
from router.wire.sse import data_of, events_of

BASE = "base"
_PROBES = 12
_TOKENS = 28
_NUMBERED = re.compile(r"^\s*\d+[.)]\s*")


class Answered(Struct, frozen=True):
    """The means over all prompts for one way to answer: the tasks that were `exact` (the line is the target) and
    `contained` (the answer has it somewhere, in any case), of `tasks` in a prompt; the medians of the milliseconds to
    the first token and to the last.
    """

    way: str
    tasks: float
    exact: float
    contained: float
    first_token_ms: float
    total_ms: float


class Local(Struct, frozen=True):
    """`right_card`: the share of tasks that went to the adapter trained for them. `alone_first_token_ms`: the median
    time to the first token of the first part where nothing else is asked. The others are shares of answers of the base
    that are the same when the prompt is sent again: at once (`repeated_equal`), or after an adapter has read it, where
    the calls state all scales as those of cards do, and where the base's call states none.
    """

    ways: tuple[Answered, ...]
    prompts: int
    right_card: float
    alone_first_token_ms: float
    repeated_equal: float
    interleaved_equal: float
    interleaved_equal_without_scales: float


@contextlib.contextmanager
def llama_server(python: str, model: Path, adapters: Sequence[Path]) -> Iterator[str]:
    """The base URL of a llama.cpp server with the adapters in this order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = Path(__file__).parent / "llama_server.py"
    command = [python, str(script), str(model), str(port), *map(str, adapters)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise SystemExit(f"the llama.cpp server did not start: {' '.join(command)}")
        yield f"{url}/v1"
    finally:
        process.kill()
        process.wait()


def local_router(url: str, names: Sequence[str]) -> Router:
    """The base and its adapters as cards, each with graded probes of its task and of the others."""
    base = Card(BASE, "hosted_vllm", "smollm2", base_url=url, lora_slots=tuple(names))
    adapters = [Card(name, "hosted_vllm", "smollm2", kind="adapter", base=BASE) for name in names]
    rng = random.Random("probes")
    probes = {name: [_task(name, rng) for _ in range(_PROBES)] for name in names}
    outcomes = {
        card: [graded(task, float(task.domain == card)) for of_name in probes.values() for task in of_name]
        for card in names
    }
    outcomes[BASE] = [graded(task, 0.0) for of_name in probes.values() for task in of_name[:4]]
    predictor = load_predictor(settings.default_artifact_folder())
    return Router(Catalog([base, *adapters]), Policies([PLAIN]), predictor, predictor.evidence_of(outcomes))


def _task(name: str, rng: random.Random) -> Task:
    text, target = TASKS[name](rng)
    return Task(text, name, target)


def prompts(names: Sequence[str], count: int, size: int) -> list[tuple[str, tuple[Task, ...]]]:
    """Numbered prompts of `size` tasks in random order, of different adapters as far as there are so many."""
    rng = random.Random("composites")
    found = []
    for _ in range(count):
        domains = [*rng.sample(names, min(size, len(names))), *rng.choices(names, k=max(size - len(names), 0))]
        tasks = tuple(_task(name, rng) for name in domains)
        listed = "\n".join(f"{number}. {task.text}" for number, task in enumerate(tasks, 1))
        found.append((f"Answer the following questions:\n{listed}", tasks))
    return found


class Timed(Struct, frozen=True):
    """An answer, and the milliseconds to its first and last token."""

    text: str
    first_token_ms: float
    total_ms: float


class Caller:
    """Calls cards as the gateway does."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.dispatcher = Dispatcher(DispatchSettings())

    async def ask(
        self,
        card: Card,
        prompt: str,
        tokens: int = _TOKENS,
        *,
        begun: asyncio.Event | None = None,
        cached: bool = False,
    ) -> Timed:
        """One streamed answer, at temperature 0; `begun` is set at its first token. `cached`: the server may reuse what
        it has of the prompt.
        """
        body = {
            "model": card.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": tokens,
            "stream": True,
            "cache_prompt": cached,
        }
        began = time.perf_counter()
        response = await self.dispatcher.send_first_healthy([card], Call("chat", body, stream=True))
        assert isinstance(response.body, EventStream), response.body
        first = None
        text = ""
        try:
            async for piece in _texts(response.body):
                if piece and first is None:
                    first = time.perf_counter()
                    if begun is not None:
                        begun.set()
                text += piece
        finally:
            await response.body.aclose()
        ended = time.perf_counter()
        return Timed(text, 1000 * ((first or ended) - began), 1000 * (ended - began))

    async def segments(self, prompt: str) -> tuple[list[str], list[str], Timed]:
        """The cards and the answers of the parts, and the joined answer. The first part is asked alone until its first
        token, since all parts share one server; then the others at once.
        """
        parts = split(prompt)
        plan = plan_segments(
            [part.depends for part in parts.segments],
            lambda number: scores_of(self.router, _alone(parts, number)),
            BASE,
            most_calls=16,
        )
        cards = [group.card for group in plan.groups for _ in group.segments]
        began = time.perf_counter()
        asked = [self.router.catalog.named(card) for card in cards]
        begun = asyncio.Event()
        first = asyncio.ensure_future(self.ask(asked[0], _alone(parts, 0), begun=begun))
        await asyncio.wait((first, waiting := asyncio.ensure_future(begun.wait())), return_when="FIRST_COMPLETED")
        waiting.cancel()
        others = (self.ask(card, _alone(parts, number)) for number, card in enumerate(asked) if number)
        answers = await asyncio.gather(first, *others)
        total_ms = 1000 * (time.perf_counter() - began)
        texts = [answer.text for answer in answers]
        return cards, texts, Timed("\n".join(texts), answers[0].first_token_ms, total_ms)


def _alone(parts: Split, number: int) -> str:
    common = [text for text in (parts.examples, parts.instructions) if text]
    return "\n\n".join([*common, parts.segments[number].text])


async def _texts(stream: EventStream) -> AsyncIterator[str]:
    left = b""
    async for chunk in stream:
        left += chunk
        *whole, left = left.split(b"\n\n")
        for raw in events_of(b"".join(event + b"\n\n" for event in whole)):
            event: Any = data_of(raw)
            if isinstance(event, Mapping):
                for choice in event.get("choices") or ():
                    yield choice.get("delta", {}).get("content") or ""


def _scored(tasks: Sequence[Task], answers: Sequence[str]) -> tuple[int, int]:
    exact = sum(_NUMBERED.sub("", answer).strip() == task.target for task, answer in zip(tasks, answers, strict=False))
    contained = sum(task.target.lower() in answer.lower() for task, answer in zip(tasks, answers, strict=False))
    return exact, contained


async def _measure(router: Router, names: Sequence[str], count: int, size: int) -> Local:
    caller = Caller(router)
    try:
        made = prompts(names, count, size)
        rows: dict[str, list[tuple[int, int, float, float]]] = {}
        right, alone = 0, []
        for number, (text, tasks) in enumerate(made):
            first_alone = router.catalog.named(tasks[0].domain)
            if number % 2:
                alone.append((await caller.ask(first_alone, tasks[0].text)).first_token_ms)
            cards, answers, joined = await caller.segments(text)
            if not number % 2:
                alone.append((await caller.ask(first_alone, tasks[0].text)).first_token_ms)
            right += sum(card == task.domain for card, task in zip(cards, tasks, strict=False))
            rows.setdefault("segments", []).append((*_scored(tasks, answers), joined.first_token_ms, joined.total_ms))
            # One line for each task; a whole answer may say them in any order, which `contained` allows for.
            for name in (BASE, *names):
                whole = await caller.ask(router.catalog.named(name), text, _TOKENS * size)
                lines = [line for line in whole.text.splitlines() if line.strip()]
                exact, _ = _scored(tasks, lines)
                _, contained = _scored(tasks, [whole.text] * len(tasks))
                rows.setdefault(name, []).append((exact, contained, whole.first_token_ms, whole.total_ms))
        ways = tuple(_answered(way, size, of_way) for way, of_way in rows.items())
        again = [await _interleaved(caller, names, how) for how in ("repeated", "with scales", "without scales")]
        repeated, with_scales, without = again
        right_card = round(right / (count * size), 3)
        return Local(ways, count, right_card, round(statistics.median(alone), 1), repeated, with_scales, without)
    finally:
        await caller.dispatcher.aclose()


def _answered(way: str, size: int, rows: Sequence[tuple[int, int, float, float]]) -> Answered:
    exact, contained, first_ms, total_ms = zip(*rows, strict=True)
    return Answered(
        way=way,
        tasks=size,
        exact=round(sum(exact) / len(rows), 3),
        contained=round(sum(contained) / len(rows), 3),
        first_token_ms=round(statistics.median(first_ms), 1),
        total_ms=round(statistics.median(total_ms), 1),
    )


async def _interleaved(caller: Caller, names: Sequence[str], how: str, count: int = 12) -> float:
    """The share of answers of the base that are the same again, after an adapter has read the same prompt unless the
    base is only `repeated`.
    """
    rng = random.Random("interleaved")
    base = caller.router.catalog.named(BASE)
    plain = Card(BASE, base.provider, base.model, base_url=base.base_url)
    equal = 0
    for number in range(count):
        name = names[number % len(names)]
        # Another prompt each time, of which the server has nothing yet.
        text = f"{_task(name, rng).text} ({how})"
        before = (await caller.ask(base, text, cached=True)).text
        if how != "repeated":
            await caller.ask(caller.router.catalog.named(name), text, cached=True)
        again = await caller.ask(plain if how == "without scales" else base, text, cached=True)
        equal += again.text == before
    return round(equal / count, 3)


def measure(folder: Path, model: Path, python: str = sys.executable, count: int = 20, size: int = 3) -> Local:
    """Serve the adapters `*.gguf` of a folder beside the model, and measure. `python` has xllamacpp."""
    files = {file.stem: file for file in sorted(folder.glob("*.gguf")) if file.stem in TASKS}
    if len(files) < 2:
        raise SystemExit(f"{folder}: needs adapters named {', '.join(TASKS)} (`python -m bench.composite.train`)")
    with llama_server(python, model, list(files.values())) as url:
        return asyncio.run(_measure(local_router(url, list(files)), list(files), count, size))


def as_table(result: Local) -> str:
    """The result in Markdown."""
    lines = ["| answered by | right, exactly | right, somewhere | first token | last token |", "|---|---|---|---|---|"]
    for way in result.ways:
        cells = f"{way.exact:.2f} | {way.contained:.2f} | {way.first_token_ms:.0f} ms | {way.total_ms:.0f} ms"
        lines.append(f"| {way.way} | {cells} |")
    return "\n".join(lines)
