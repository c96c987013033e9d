"""A pool of cards on loopback servers, whose answers are planted, and tasks for them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.learn.onboarding.examinee import Examinee, examinee

Reply = Callable[[int], str]


def prompt(number: int) -> str:
    """An example's prompt, long enough that its bytes bound the tokens that the server reports."""
    return (
        f"Ticket {number}: "
        + "a customer writes about a parcel that has not arrived; " * 3
        + "how many days is it late?"
    )


def right(number: int) -> str:
    """A right answer."""
    return f"The answer is {number % 7}."


def wrong(number: int, by: int = 1) -> str:
    """A wrong answer, equal for an equal `by`."""
    return f"The answer is {number % 7 + 10 * by}."


@dataclass
class Pool:
    """The servers by card, and the folder with cards and tasks."""

    folder: Path
    servers: dict[str, Examinee] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return sum(len(server.bodies) for server in self.servers.values())

    def task(self, examples: int = 12, name: str = "late", **facts: Any) -> Path:
        """A task file."""
        rows = [{"prompt": prompt(number), "answer": str(number % 7)} for number in range(examples)]
        file = self.folder / f"{name}.yaml"
        file.write_text(json.dumps({"description": "How late a parcel is.", "examples": rows, **facts}))
        return file


@contextlib.contextmanager
def pool(folder: Path, replies: Mapping[str, tuple[float, Reply]], **facts: Any) -> Iterator[Pool]:
    """Cards by name, with a price in USD per million tokens and what they reply to an example."""
    made = Pool(folder)
    (folder / "model_cards").mkdir(exist_ok=True)
    (folder / "plans").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        for name, (price, reply) in replies.items():
            server = stack.enter_context(examinee(replies=_to_prompt(reply), **facts))
            made.servers[name] = server
            (folder / "model_cards" / f"{name}.yaml").write_text(
                f"id: {name}\nprovider: openai\nmodel: {name}-1\nbase_url: {server.url}/v1\napi_key_env: POOL_KEY\n"
                f"price: {{input: {price}$, output: {price}$}}\nmax_output: 100\n"
            )
        yield made


def _to_prompt(reply: Reply) -> Callable[[str], str]:
    return lambda text: reply(int(text.removeprefix("Ticket ").split(":", 1)[0]))
