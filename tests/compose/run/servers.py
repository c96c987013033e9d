"""Gateways whose plans are given: a real server, real calls, and a scripted upstream that speaks chat."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from router.cards import Card
from router.decide.plans.spec import PlanSpec
from router.dispatch import Timeouts
from router.dispatch.bounds.body_memory import BodyMemory
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.routing.selection import GatewayRequest, Selection
from router.store.records.record import Record
from router.types import ComposedPlan
from tests.gateway.servers import MemoryJournal, make_card, make_gateway, make_router, served

FAULTS = ("500", "hang", "cut", "empty", "garbage", "refusal")
REFUSAL = "I'm sorry, but I can't help with that."


@dataclass
class Script:
    """What each model answers: a text, or a fault. `open` is the number of calls that have not ended.

    `counts_prompts`: whether the reported input is as long as the prompt, ten tokens otherwise.
    """

    answers: dict[str, str | list[str]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    delays_s: dict[str, float] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    open: int = 0
    counts_prompts: bool = False
    url: str = ""

    def reset(self) -> None:
        """Forget what was asked, and answer without faults."""
        for scripted in (self.answers, self.faults, self.delays_s, self.seen, self.headers, self.messages):
            scripted.clear()

    @property
    def models(self) -> list[str]:
        """The requested models, in order."""
        return [body["model"] for body in self.seen]

    def text(self, model: str) -> str:
        """The next answer of a model."""
        answer = self.answers.get(model, f"answer of {model}")
        return answer if isinstance(answer, str) else answer.pop(0)

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.seen.append(body)
        self.headers.append(request.headers)
        self.open += 1
        model = body["model"]
        fault = self.faults.get(model, "")
        text = REFUSAL if fault == "refusal" else self.text(model)
        if fault == "500":
            self.open -= 1
            return Response(b'{"error": {"message": "upstream says no"}}', 500, media_type="application/json")
        if fault.startswith("400"):
            self.open -= 1
            error = {"message": fault.removeprefix("400 "), "type": "invalid_request_error"}
            return Response(json.dumps({"error": error}), 400, media_type="application/json")
        if body.get("stream"):
            return StreamingResponse(self._stream(model, text, fault, body), media_type="text/event-stream")
        return StreamingResponse(self._whole(model, text, fault, body), media_type="application/json")

    def usage(self, text: str, body: Mapping[str, Any]) -> dict[str, int]:
        """The usage that is reported of an answer."""
        said = [json.dumps(message["content"]) for message in body["messages"]]
        return usage_of(text, len(" ".join(said).split()) if self.counts_prompts else 10)

    async def _whole(self, model: str, text: str, fault: str, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        try:
            await asyncio.sleep(3600 if fault == "hang" else self.delays_s.get(model, 0.0))
            message = self.messages.get(model, {"role": "assistant", "content": text})
            reason = "tool_calls" if message.get("tool_calls") else "stop"
            whole = {
                "id": f"id-{model}",
                "object": "chat.completion",
                "created": 1,
                "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": reason}],
                "usage": self.usage(text, body),
            }
            raw = json.dumps(whole).encode()
            if fault == "empty":
                raw = json.dumps({**whole, "choices": []}).encode()
            if fault == "garbage":
                raw = b"\x00\xff<html>"
            if fault == "cut":
                yield raw[: len(raw) // 2]
                await asyncio.sleep(0.02)
                raise ConnectionAbortedError
            yield raw
        finally:
            self.open -= 1

    async def _stream(self, model: str, text: str, fault: str, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        try:
            await asyncio.sleep(3600 if fault == "hang" else self.delays_s.get(model, 0.0))
            if fault == "garbage":
                yield b"data: {\x00\xff\n\n"
                return
            if fault == "empty":
                yield b"data: [DONE]\n\n"
                return
            message = self.messages.get(model, {"role": "assistant", "content": text})
            half = len(text) // 2
            yield _chunk(model, {**message, "content": text[:half]})
            if fault == "cut":
                await asyncio.sleep(0.02)
                raise ConnectionAbortedError
            if self.delays_s.get(model):
                await asyncio.sleep(self.delays_s[model])
            yield _chunk(model, {"content": text[half:]})
            yield _chunk(model, {}, "tool_calls" if message.get("tool_calls") else "stop")
            if (body.get("stream_options") or {}).get("include_usage"):
                head = {"id": f"id-{model}", "object": "chat.completion.chunk", "created": 1, "model": model}
                yield (
                    b"data: " + json.dumps({**head, "choices": [], "usage": self.usage(text, body)}).encode() + b"\n\n"
                )
            yield b"data: [DONE]\n\n"
        finally:
            self.open -= 1


def usage_of(text: str, read: int = 10) -> dict[str, int]:
    """The usage that the upstream reports: what it has `read`, and a token for each word."""
    words = len(text.split())
    return {"prompt_tokens": read, "completion_tokens": words, "total_tokens": read + words}


def _chunk(model: str, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    head = {"id": f"id-{model}", "object": "chat.completion.chunk", "created": 1, "model": model}
    return (
        b"data: "
        + json.dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()
        + b"\n\n"
    )


@contextlib.contextmanager
def script_server() -> Iterator[Script]:
    """A scripted upstream."""
    script = Script()
    routes = [Route("/v1/chat/completions", script.answer, methods=["POST"])]
    with served(Starlette(routes=routes)) as url:
        script.url = url
        yield script


SHORT = Timeouts(connect_s=2, first_token_s=0.6, idle_s=0.6, total_s=6)  # type: ignore[arg-type]


@dataclass
class Planned:
    """A gateway that answers every request by one plan, which may be replaced."""

    spec: PlanSpec
    plan: ComposedPlan
    client: httpx.Client = field(default_factory=httpx.Client)
    records: list[Record] = field(default_factory=list)
    bodies: BodyMemory | None = None

    def ask(self, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
        """Send a request."""
        body = {"model": "auto", "messages": [{"role": "user", "content": "What is 6 times 7?"}], **fields}
        return self.client.post(path, json={name: value for name, value in body.items() if value is not None})

    @property
    def memory(self) -> BodyMemory:
        """The memory of the gateway's bodies."""
        assert self.bodies is not None
        return self.bodies

    @property
    def record(self) -> Record:
        """The record of the last request."""
        return self.records[-1]


@contextlib.contextmanager
def planned(
    script: Script,
    spec: PlanSpec,
    *cards: str,
    plan: ComposedPlan | None = None,
    facts: Mapping[str, Any] = {},
    **parts: Any,
) -> Iterator[Planned]:
    """A gateway over one card for each name, whose decisions are all `spec` with these cards as its members."""
    config = parts.pop("config", GatewayConfig(timeouts=SHORT))
    members = cards if plan is None else plan.members
    made = [make_card(name, script.url, name, **{"price": 1.0, **facts}) for name in dict.fromkeys(cards)]
    plan = plan or ComposedPlan(spec.name, spec.kind, cards[0], members)
    log, gateway_of_plan = MemoryJournal(), Planned(spec, plan)
    gateway = make_gateway(make_router(*made), config, journal=log, **parts)
    select = gateway.services.selector.select

    async def composed(request: GatewayRequest, record_id: str = "") -> Selection:
        plan, spec = gateway_of_plan.plan, gateway_of_plan.spec
        return msgspec.structs.replace(await select(request, record_id), plan=plan, spec=spec)

    gateway.services.selector.select = composed  # type: ignore[method-assign]
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        gateway_of_plan.client, gateway_of_plan.records = client, log.records
        gateway_of_plan.bodies = gateway.bodies
        yield gateway_of_plan


def text_of(response: httpx.Response) -> str:
    """The text of a whole or a streamed chat answer."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        return str(response.json()["choices"][0]["message"]["content"])
    return "".join(
        choice["delta"].get("content") or "" for event in events_of(response) for choice in event.get("choices", ())
    )


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The decoded events of a stream, without `[DONE]`."""
    lines = [line[len("data: ") :] for line in response.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def card(name: str, script: Script, **facts: Any) -> Card:
    """A card of the scripted upstream."""
    return make_card(name, script.url, name, **facts)
