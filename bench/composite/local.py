"""Composite prompts on a real llama.cpp server with LoRA adapters, behind a running gateway.

Compared: the plan `segments`, which sends each part to the adapter that the router takes for it, where the cards state
five examples; the base and each adapter alone with the whole prompt.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from msgspec import Struct

from bench.composite.adapter_tasks import TASKS, fresh, trained
from bench.composite.prompts import Task
from bench.composite.servers import BASE, gateway, llama_server, write_cards
from router.compose.split import split_prompt

ADAPTERS = ("count", "iso_date", "order", "sentiment")
# The base is expected to answer most of these prompts, too, so that an adapter gains less than the usual 0.02.
_PLANS = ({"id": "tasks", "kind": "segments", "description": "Each task to its adapter.", "min_gain": 0.005},)
_PLAN = "plan/tasks"
# The default policy takes the base wherever a forecast is not confident.
_HEADERS = {"x-route-policy": "best"}
_EXAMPLES = 5
_TOKENS = 28
_TIMEOUT_S = 120.0
_NUMBERED = re.compile(r"^\s*\d+[.)]\s*")


Row = tuple[int, int, int, float, float]


class Answered(Struct, frozen=True):
    """The means over all prompts for one way to answer: the tasks of `tasks` in a prompt that were `attempted` (there
    is a line for it), `exact` (the line is the target; `exact_ci95` its interval) and `contained` (the answer has it
    somewhere, in any case); the medians of the milliseconds to the first token and to the last.
    """

    way: str
    tasks: int
    attempted: float
    exact: float
    exact_ci95: tuple[float, float]
    contained: float
    first_token_ms: float
    total_ms: float


class Local(Struct, frozen=True):
    """`alone_first_token_ms`: the median time to the first token of the first part, sent to its adapter where nothing
    else is asked. `later`: the median over the prompts of how much later the plan's first token is, as a share.
    """

    ways: tuple[Answered, ...]
    prompts: int
    alone_first_token_ms: float
    later: float


class Timed(Struct, frozen=True):
    """An answer, and the milliseconds to its first and last token."""

    text: str
    first_token_ms: float
    total_ms: float


def prompts(names: Sequence[str], count: int, size: int) -> list[tuple[str, tuple[Task, ...]]]:
    """Numbered prompts of `size` tasks in random order, of different adapters as far as there are so many; no adapter
    was trained on one of the tasks.
    """
    rng = random.Random("composites")
    found = []
    for _ in range(count):
        domains = [*rng.sample(names, min(size, len(names))), *rng.choices(names, k=max(size - len(names), 0))]
        tasks = tuple(_task(name, rng) for name in domains)
        listed = "\n".join(f"{number}. {task.text}" for number, task in enumerate(tasks, 1))
        found.append((f"Answer the following questions:\n{listed}", tasks))
    return found


def _task(name: str, rng: random.Random) -> Task:
    text, target = next(fresh(name, rng))
    return Task(text, name, target)


async def _ask(client: httpx.AsyncClient, model: str, prompt: str, tokens: int) -> Timed:
    """One streamed answer, at temperature 0."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
    }
    began, first, text = time.perf_counter(), None, ""
    headers = _HEADERS if model == _PLAN else {}
    async with client.stream("POST", "chat/completions", json=body, headers=headers) as response:
        if response.status_code != httpx.codes.OK:
            raise SystemExit(f"bench.composite: {model}: {(await response.aread()).decode()}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line.removeprefix("data: ")).get("choices") or ():
                piece = choice.get("delta", {}).get("content") or ""
                if piece and first is None:
                    first = time.perf_counter()
                text += piece
    ended = time.perf_counter()
    return Timed(text, 1000 * ((first or ended) - began), 1000 * (ended - began))


def _scored(tasks: Sequence[Task], answer: str) -> tuple[int, int, int]:
    lines = [line for line in answer.splitlines() if line.strip()]
    exact = sum(_NUMBERED.sub("", line).strip() == task.target for task, line in zip(tasks, lines, strict=False))
    # A whole answer may say them in any order, which `contained` allows for.
    return min(len(lines), len(tasks)), exact, sum(task.target.lower() in answer.lower() for task in tasks)


async def _measure(url: str, names: Sequence[str], count: int, size: int) -> Local:
    made = prompts(names, count, size)
    rows: dict[str, list[Row]] = {}
    alone: list[float] = []
    later: list[float] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=_TIMEOUT_S) as client:
        # What is loaded with the first requests takes no part.
        await _ask(client, _PLAN, made[0][0], 1)
        for number, (text, tasks) in enumerate(made):
            first = f"Answer the following questions:\n\n{split_prompt(text)[0]}"
            before = await _ask(client, tasks[0].domain, first, _TOKENS) if number % 2 else None
            joined = await _ask(client, _PLAN, text, _TOKENS)
            of_first = before or await _ask(client, tasks[0].domain, first, _TOKENS)
            alone.append(of_first.first_token_ms)
            later.append(joined.first_token_ms / of_first.first_token_ms - 1)
            whole = [(name, await _ask(client, name, text, _TOKENS * size)) for name in (BASE, *names)]
            for way, answer in [("segments", joined), *whole]:
                row = (*_scored(tasks, answer.text), answer.first_token_ms, answer.total_ms)
                rows.setdefault(way, []).append(row)
    ways = tuple(_answered(way, size, of_way) for way, of_way in rows.items())
    return Local(ways, count, round(statistics.median(alone), 1), round(statistics.median(later), 3))


def _answered(way: str, size: int, rows: Sequence[Row]) -> Answered:
    attempted, exact, contained, first_ms, total_ms = zip(*rows, strict=True)
    mean = sum(exact) / len(rows)
    margin = 1.96 * statistics.pstdev(exact) / len(rows) ** 0.5
    return Answered(
        way=way,
        tasks=size,
        attempted=round(sum(attempted) / len(rows), 3),
        exact=round(mean, 3),
        exact_ci95=(round(mean - margin, 3), round(mean + margin, 3)),
        contained=round(sum(contained) / len(rows), 3),
        first_token_ms=round(statistics.median(first_ms), 1),
        total_ms=round(statistics.median(total_ms), 1),
    )


def measure(
    folder: Path,
    model: Path,
    python: str = sys.executable,
    count: int = 20,
    sizes: Sequence[int] = (3,),
    threads: int = 1,
) -> list[Local]:
    """Serve the adapters in `folder` beside the model, and measure `count` prompts of each size. `python` has
    xllamacpp.
    """
    files = [folder / f"{name}.gguf" for name in ADAPTERS]
    if missing := [file.name for file in files if not file.is_file()]:
        raise SystemExit(f"{folder}: has no {', '.join(missing)} (`python -m bench.composite.train`)")
    assert set(ADAPTERS) <= set(TASKS)
    examples = {
        name: [prompt for prompt, _ in itertools.islice(trained(name, random.Random(f"examples {name}")), _EXAMPLES)]
        for name in ADAPTERS
    }
    with tempfile.TemporaryDirectory() as scratch, llama_server(python, model, files, 4, threads) as server:
        write_cards(Path(scratch) / "cards", server.url, examples)
        with gateway(Path(scratch) / "gateway", Path(scratch) / "cards", _PLANS) as url:
            return [asyncio.run(_measure(url, ADAPTERS, count, size)) for size in sizes]


def as_table(result: Local) -> str:
    """The result in Markdown."""
    lines = [
        "| answered by | attempted | right, exactly (95 %) | right, somewhere | first token | last token |",
        "|---|---|---|---|---|---|",
    ]
    for way in result.ways:
        low, high = way.exact_ci95
        right = f"{way.exact:.2f} ({low:.2f} to {high:.2f}) | {way.contained:.2f}"
        times = f"{way.first_token_ms:.0f} ms | {way.total_ms:.0f} ms"
        lines.append(f"| {way.way} | {way.attempted:.2f} | {right} | {times} |")
    alone = f"first part alone: first token after {result.alone_first_token_ms:.0f} ms"
    tasks = f"{result.prompts} prompts of {result.ways[0].tasks} tasks"
    return "\n".join([*lines, "", f"{tasks}; {alone}; the plan's is {result.later:+.1%} later"])
