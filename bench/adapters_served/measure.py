"""Requests through the gateway to twenty adapters on one llama.cpp server, whose answers are compared with those of
servers that have nothing in their cache.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from msgspec import Struct

from bench.adapters_served.sending import Answer, direct, references, scales, send_all
from bench.adapters_served.traffic import AUTO, Ask, Prompts, examples, prompts, requests
from bench.composite.adapter_tasks import TASKS
from bench.composite.servers import BASE, LlamaServer, gateway, llama_server, write_cards

References = Mapping[tuple[str, str], str]
"""Answers by card and prompt."""
_DOWN_S = 1.0
_TRAPS = 80


class Setup(Struct, frozen=True):
    """What is served: an interpreter with xllamacpp, the base model, the folder of adapters; with how many threads."""

    python: str
    model: Path
    adapters: Path
    threads: int = 1

    @property
    def files(self) -> list[Path]:
        """The adapters in the order of the tasks."""
        return [self.adapters / f"{name}.gguf" for name in TASKS]


class Served(Struct, frozen=True):
    """How many requests were `answered` (200), by the card that should (`right_card`), and of the `routed` ones. Of
    those to adapters and to the base, how many are answered as by a server that has nothing in its cache, and how many
    of the adapters' answers are the right ones (`exact`). `restart_s`: how long the server was away. `wrong` are all
    that another card or with another answer.
    """

    requests: int
    answered: int
    right_card: int
    routed: int
    routed_right: int
    to_adapters: int
    adapters_same: int
    exact: int
    to_base: int
    base_same: int
    sent_again: int
    restart_s: float
    seconds: float
    wrong: tuple[str, ...]


class Trap(Struct, frozen=True):
    """Of `requests` to the base, how many are answered as by a server without adapters, where adapters read the same
    prompts in between: where the base's requests state no scales, where all do, and where all do without the cache, as
    those of the gateway do.
    """

    requests: int
    no_scales: int
    all_scales: int
    all_scales_uncached: int


def measure(
    setup: Setup, count: int, scratch: Path, of_task: int = 6, retries: int = 0, traps: int = _TRAPS
) -> tuple[Served, Trap]:
    """Send `count` requests by two clients; half way, the llama.cpp server is killed and started again. The same server
    then shows the trap of its cache, with three times `traps` requests.
    """
    made = prompts(of_task)
    asks = requests(made, count)
    expected = expected_answers(setup, asks, made, traps=traps > 0)
    with llama_server(setup.python, setup.model, setup.files, threads=setup.threads) as server:
        write_cards(scratch / "cards", server.url, examples())
        with gateway(scratch / "gateway", scratch / "cards") as url:
            restart = _Restart(server, count // 2)
            began = time.perf_counter()
            answers = asyncio.run(send_all(url, asks, 2, retries, restart.after))
            seconds = time.perf_counter() - began
            restart.join()
        return _served(asks, answers, expected, made, restart.seconds, seconds), asyncio.run(
            _trap(server.url, made, expected, traps)
        )


def expected_answers(setup: Setup, asks: Sequence[Ask], made: Prompts, *, traps: bool) -> References:
    """The adapters' answers where every prompt is computed anew, and the base's from a server without adapters."""
    wanted = {name: {ask.prompt: None for ask in asks if ask.card == name} for name in (BASE, *TASKS)}
    if traps:
        wanted[BASE] |= dict.fromkeys(_trap_prompts(made))
    found: dict[tuple[str, str], str] = {}
    with llama_server(setup.python, setup.model, threads=setup.threads) as server:
        found |= asyncio.run(references(server.url, BASE, list(wanted[BASE]), {}))
    with llama_server(setup.python, setup.model, setup.files, threads=setup.threads) as server:
        for name in TASKS:
            found |= asyncio.run(references(server.url, name, list(wanted[name]), {"lora": scales(name)}))
    return found


class _Restart:
    """Kills the server once so many requests are answered, and starts it again."""

    def __init__(self, server: LlamaServer, at: int) -> None:
        self._server, self._at = server, at
        self._thread = threading.Thread(target=self._run)
        self.seconds = 0.0

    def after(self, answered: int) -> None:
        if answered == self._at:
            self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        began = time.perf_counter()
        self._server.kill()
        time.sleep(_DOWN_S)
        self._server.start()
        self.seconds = time.perf_counter() - began


def _served(
    asks: Sequence[Ask],
    answers: Sequence[Answer],
    expected: References,
    made: Prompts,
    restart_s: float,
    seconds: float,
) -> Served:
    right = {prompt: answer for of_task in made.tasks.values() for prompt, answer in of_task}
    pairs = list(zip(asks, answers, strict=True))
    same = [answer.text == expected[ask.card, ask.prompt] for ask, answer in pairs]
    of_base = [ask.card == BASE for ask, _ in pairs]
    wrong = [
        f"{ask.card} by {ask.model}: {ask.prompt!r}: {answer.status} {answer.card} {answer.text!r} instead of "
        f"{expected[ask.card, ask.prompt]!r}"
        for (ask, answer), is_same in zip(pairs, same, strict=True)
        if not is_same or answer.card != ask.card
    ]
    return Served(
        requests=len(asks),
        answered=sum(answer.status == httpx.codes.OK for answer in answers),
        right_card=sum(answer.card == ask.card for ask, answer in pairs),
        routed=sum(ask.model == AUTO for ask in asks),
        routed_right=sum(ask.model == AUTO and answer.card == ask.card for ask, answer in pairs),
        to_adapters=of_base.count(False),
        adapters_same=sum(is_same for is_same, base in zip(same, of_base, strict=True) if not base),
        exact=sum(ask.card != BASE and answer.text == right[ask.prompt] for ask, answer in pairs),
        to_base=of_base.count(True),
        base_same=sum(is_same for is_same, base in zip(same, of_base, strict=True) if base),
        sent_again=sum(answer.sent > 1 for answer in answers),
        restart_s=round(restart_s, 1),
        seconds=round(seconds, 1),
        wrong=tuple(wrong),
    )


async def _trap(url: str, made: Prompts, expected: References, count: int) -> Trap:
    rng = random.Random("trap")
    pool = _trap_prompts(made)
    asked = [(rng.choice((BASE, rng.choice(list(TASKS)))), rng.choice(pool)) for _ in range(count)]
    same = []
    async with httpx.AsyncClient(trust_env=False) as client:
        for states_all, extra in ((False, {}), (True, {}), (True, {"cache_prompt": False})):
            right = 0
            for card, prompt in asked:
                lora = {"lora": scales(card)} if states_all or card != BASE else {}
                text = await direct(client, url, card, prompt, {**lora, **extra})
                right += card == BASE and text == expected[BASE, prompt]
            same.append(right)
    return Trap(sum(card == BASE for card, _ in asked), *same)


def _trap_prompts(made: Prompts) -> list[str]:
    return [*made.general[:8], *(of_task[0][0] for of_task in list(made.tasks.values())[:8])]
