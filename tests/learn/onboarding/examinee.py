"""A model server that answers probes, rightly or wrongly, and records the requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from router.cards import Card
from router.cards.price import Price
from router.formats.quantities import Dollars
from router.learn.onboarding.probes import Probe
from tests.gateway.servers import served


def ideal(probe: Probe) -> str:
    """A reply with the right answer, in the words of a model."""
    answer = probe.answers[0]
    if probe.grader == "json":
        return json.dumps(answer, ensure_ascii=False)
    if probe.grader == "whole":
        return str(answer)
    text = ", ".join(answer) if probe.grader == "list" else answer
    return f"Let me go through this step by step. First, 3 things matter.\n\n**Answer:** {text}"


@dataclass
class Examinee:
    """The server's replies, and its faults: it `rejects` fields by name, fails after `fails_after` calls, begins with
    `statuses`, does not support streams, reports no usage, interrupts its answers, waits `delay_s`.
    """

    replies: Callable[[str], str] = lambda _: "Answer: no idea"
    rejects: tuple[str, ...] = ()
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    fails_after: int | None = None
    streams: bool = True
    usage: bool = True
    interrupts: bool = False
    finish: str = "stop"
    delay_s: float = 0.0
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    concurrent: int = 0
    max_concurrent: int = 0

    @property
    def asked(self) -> list[str]:
        """The newest turn of each call, in order."""
        return [body["messages"][-1]["content"] for body in self.bodies]

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.bodies.append(body)
        number = len(self.bodies)
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            # Long enough for concurrent calls to overlap; not longer than the client stays.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(request.receive(), max(self.delay_s, 0.005))
        finally:
            self.concurrent -= 1
        if self.statuses or (self.fails_after is not None and number > self.fails_after):
            status = self.statuses.pop(0) if self.statuses else 503
            return JSONResponse({"error": {"message": "not now"}}, status, self.headers)
        for name in self.rejects:
            if name in body and body[name] is not False:
                return JSONResponse({"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}, 400)
        text = self.replies(body["messages"][-1]["content"])
        if body.get("stream") and self.streams:
            return StreamingResponse(self._stream(text), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish}
        return JSONResponse({"choices": [choice], **self._usage(text)})

    def _usage(self, text: str) -> dict[str, Any]:
        return {"usage": {"prompt_tokens": 100, "completion_tokens": len(text)}} if self.usage else {}

    async def _stream(self, text: str) -> AsyncIterator[bytes]:
        half = len(text) // 2
        events: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {"content": text[:half]}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {"content": text[half:]}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]},
            {"choices": [], **self._usage(text)},
        ]
        whole = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
        if self.interrupts:
            whole = whole[: len(whole) // 3]
        # Chunks that end in the middle of lines, and of characters.
        for start in range(0, len(whole), 97):
            yield whole[start : start + 97]


def knowing(probes: tuple[Probe, ...]) -> Callable[[str], str]:
    """Replies with the right answer to each of `probes`."""
    right = {probe.request_messages()[-1]["content"]: ideal(probe) for probe in probes}
    return lambda prompt: right[prompt]


@contextlib.contextmanager
def examinee(**facts: Any) -> Iterator[Examinee]:
    """An examinee that listens on a loopback port."""
    model = Examinee(**facts)
    with served(Starlette(routes=[Route("/v1/chat/completions", model.answer, methods=["POST"])])) as url:
        model.url = url
        yield model


def card_of(server: Examinee, price: float | None = 1.0, **facts: Any) -> Card:
    """The card of an examinee; `price` is in USD per million tokens."""
    facts = {"model": "examinee-1", "privacy": "private", **facts}
    cost = None if price is None else Price(Dollars(price), Dollars(price))
    return Card(id="vendor/examinee", provider="openai", base_url=f"{server.url}/v1", price=cost, **facts)
