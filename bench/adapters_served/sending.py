"""Requests to chat completions, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from msgspec import Struct

from bench.adapters_served.traffic import Ask
from bench.composite.adapter_tasks import TASKS
from bench.composite.servers import BASE, MODEL_NAME

_TIMEOUT_S = 120.0
# The longest right answer has 27 tokens; the base may write on.
_TASK_TOKENS, _BASE_TOKENS = 32, 12


class Answer(Struct, frozen=True):
    """What a request got: the status (0 without a response), the card that answered, the text, and how many times it
    was sent.
    """

    status: int
    card: str
    text: str
    sent: int = 1


def body_of(model: str, card: str, prompt: str) -> dict[str, Any]:
    """The request that `card` must answer."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": _BASE_TOKENS if card == BASE else _TASK_TOKENS,
    }


def scales(card: str) -> list[dict[str, float]]:
    """As a llama.cpp server with all adapters expects them, for one of them or the base."""
    return [{"id": number, "scale": float(name == card)} for number, name in enumerate(TASKS)]


async def direct(client: httpx.AsyncClient, url: str, card: str, prompt: str, extra: Mapping[str, Any]) -> str:
    """The answer of a llama.cpp server to a request that has these `extra` fields."""
    body = {**body_of(MODEL_NAME, card, prompt), **extra}
    response = await client.post(f"{url}/chat/completions", json=body, timeout=_TIMEOUT_S)
    response.raise_for_status()
    return _text(response)


async def references(url: str, card: str, asked: Sequence[str], extra: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The answers of a llama.cpp server, by card and prompt, where nothing of its cache is used."""
    async with httpx.AsyncClient(trust_env=False) as client:
        fresh = {"cache_prompt": False, **extra}
        return {(card, prompt): await direct(client, url, card, prompt, fresh) for prompt in asked}


async def send_all(
    url: str, asks: Sequence[Ask], clients: int, retries: int, done: Callable[[int], None]
) -> list[Answer]:
    """The answers of the gateway, in the order of `asks`, which as many `clients` send in turn. Each sends a request
    again up to `retries` times where it is answered 408, 429 or 5xx or not at all, after the time that the answer
    states, as the SDKs do. `done` gets the number of the requests that are answered.
    """
    answers: list[Answer | None] = [None] * len(asks)
    left = iter(range(len(asks)))
    finished = 0

    async def one(client: httpx.AsyncClient) -> None:
        nonlocal finished
        for number in left:
            answers[number] = await _sent(client, url, asks[number], retries)
            finished += 1
            done(finished)

    async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_S) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    return [answer for answer in answers if answer is not None]


async def _sent(client: httpx.AsyncClient, url: str, ask: Ask, retries: int) -> Answer:
    answer = Answer(0, "", "")
    for attempt in range(1, retries + 2):
        wait_s = min(0.5 * 2 ** (attempt - 1), 8.0)
        try:
            response = await client.post(f"{url}/chat/completions", json=body_of(ask.model, ask.card, ask.prompt))
        except httpx.HTTPError as error:
            answer = Answer(0, "", str(error), attempt)
        else:
            card = response.headers.get("x-route-card", "")
            if response.status_code == httpx.codes.OK:
                return Answer(response.status_code, card, _text(response), attempt)
            answer = Answer(response.status_code, card, response.text, attempt)
            if response.status_code not in (408, 429) and response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return answer
            wait_s = float(response.headers.get("retry-after") or wait_s)
        if attempt <= retries:
            await asyncio.sleep(wait_s)
    return answer


def _text(response: httpx.Response) -> str:
    text: str = response.json()["choices"][0]["message"]["content"]
    return text
