"""A model server that does what a prompt asks for and counts what it delivered: `python -m bench.hostile.upstream`.

A prompt such as `who=evil do=stream events=200` chooses what happens. `GET /bench/bills` returns, by `who`, the calls
and the output tokens that a provider would charge for: the tokens of a whole answer once the call has arrived, those of
a stream as they are written. `GET /bench/reset` forgets them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiohttp import web

_WORD = re.compile(rb"\b(who|do|events|tokens|pause_ms)=([a-z0-9-]+)")
WORDS_AN_EVENT = 10
INPUT_TOKENS = 20
_TEXT = "".join(f"measure{digit} " for digit in range(WORDS_AN_EVENT))
# Longer than every timeout of the gateways under test.
_HANG_S = 120.0
_LARGE = 200
# Of the text of a large whole answer: 3 MB.
_LARGE_ANSWER = 3_000_000 // len(_TEXT)
_FAULTS = {"404": "model_not_found", "429": "rate_limit_exceeded", "500": "server_error"}


class Bill(msgspec.Struct):
    """What one client's calls cost a provider: calls, answered or not, and output tokens; `at_once`: most in progress.

    `ids`: the ids of stored answers that its calls named.
    """

    calls: int = 0
    output_tokens: int = 0
    running: int = 0
    at_once: int = 0
    ids: list[str] = []


class Instruction(msgspec.Struct, frozen=True):
    """What a prompt asks for."""

    who: str = "nobody"
    do: str = "ok"
    events: int = 3
    tokens: int = 30
    pause_ms: int = 0


def read_instruction(body: bytes) -> Instruction:
    """The instruction anywhere in a body; what it does not state has its default."""
    # The last mention counts: what a client of the bench appends.
    found = {name.decode(): value.decode() for name, value in _WORD.findall(body)}
    numbers = {name: int(value) for name, value in found.items() if name in ("events", "tokens", "pause_ms")}
    return Instruction(found.get("who", "nobody"), found.get("do", "ok"), **numbers)


class HostileUpstream:
    """The server's state: bills by client, and requests for addresses that no gateway should fetch."""

    def __init__(self) -> None:
        self.bills: dict[str, Bill] = {}
        self.fetched = 0

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/bench/bills", self._show_bills)
        app.router.add_get("/bench/reset", self._reset)
        app.router.add_get("/internal/{rest:.*}", self._fetch)
        app.router.add_get("/{rest:.*}", self._get)
        app.router.add_post("/{rest:.*}", self._post)
        return app

    async def _show_bills(self, _: web.Request) -> web.Response:
        return _json({"bills": msgspec.to_builtins(self.bills), "fetched": self.fetched})

    async def _reset(self, _: web.Request) -> web.Response:
        # Calls that still run keep the bills that they have.
        self.bills, self.fetched = {}, 0
        return _json({})

    async def _fetch(self, _: web.Request) -> web.Response:
        self.fetched += 1
        return web.Response(body=b"\x89PNG\r\n\x1a\ninternal", content_type="image/png")

    async def _get(self, request: web.Request) -> web.Response:
        if request.path.endswith("/models"):
            return _json({"object": "list", "data": [{"id": "bench", "object": "model", "created": 1}]})
        if "/responses/" in request.path:
            return _json(_response(request.path.rpartition("/")[2]))
        return _json({"status": "ok"})

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        instruction = read_instruction(body)
        bill = self.bills.setdefault(instruction.who, Bill())
        bill.calls += 1
        bill.running += 1
        bill.at_once = max(bill.at_once, bill.running)
        try:
            return await self._respond(request, json.loads(body), instruction, bill)
        finally:
            bill.running -= 1

    async def _respond(
        self, request: web.Request, message: dict[str, Any], instruction: Instruction, bill: Bill
    ) -> web.StreamResponse:
        if isinstance(stored := message.get("previous_response_id"), str):
            bill.ids.append(stored)
        if instruction.do == "hang":
            await asyncio.sleep(_HANG_S)
        if instruction.do in _FAULTS:
            await asyncio.sleep(instruction.pause_ms / 1e3)
            error = {"message": "no", "type": "error", "param": None, "code": _FAULTS[instruction.do]}
            retry = {"retry-after": "300"} if instruction.do == "429" else {}
            return _json({"error": error}, status=int(instruction.do), headers=retry)
        events = _anthropic_events if request.path.endswith("/messages") else _openai_events
        if message.get("stream"):
            return await _stream(request, instruction, bill, events)
        tokens = instruction.tokens * int(message.get("n") or 1)
        bill.output_tokens += tokens
        if instruction.pause_ms:
            await asyncio.sleep(instruction.pause_ms / 1e3)
        if instruction.do == "large":
            return web.Response(body=_large(request.path, tokens), content_type="application/json")
        return _json(_whole(request.path, tokens, bill.calls))


async def _stream(
    request: web.Request,
    instruction: Instruction,
    bill: Bill,
    events: Callable[[int, int], AsyncIterator[tuple[int, bytes]]],
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    # The client has left: what was written is charged for.
    with contextlib.suppress(ConnectionError):
        endless = instruction.do == "endless"
        # Large events fill the buffers of a connection soon.
        async for tokens, event in events(sys.maxsize if endless else instruction.events, _LARGE if endless else 1):
            await response.write(event)
            bill.output_tokens += tokens
            if instruction.pause_ms and tokens:
                await asyncio.sleep(instruction.pause_ms / 1e3)
        await response.write_eof()
    return response


async def _openai_events(count: int, size: int) -> AsyncIterator[tuple[int, bytes]]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({**head, "choices": [choice]})

    yield 0, event({"role": "assistant", "content": ""})
    content = event({"content": _TEXT * size})
    for _ in range(count):
        yield WORDS_AN_EVENT * size, content
    yield 0, event({}, "stop")
    yield 0, _data({**head, "choices": [], "usage": _usage(count * size * WORDS_AN_EVENT)})
    yield 0, b"data: [DONE]\n\n"


async def _anthropic_events(count: int, size: int) -> AsyncIterator[tuple[int, bytes]]:
    def event(kind: str, **fields: Any) -> bytes:
        return b"event: %s\n%s" % (kind.encode(), _data({"type": kind, **fields}))

    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": 1}
    yield 0, event("message_start", message=_message([], usage, None))
    yield 0, event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    content = event("content_block_delta", index=0, delta={"type": "text_delta", "text": _TEXT * size})
    for _ in range(count):
        yield WORDS_AN_EVENT * size, content
    yield 0, event("content_block_stop", index=0)
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield 0, event("message_delta", delta=stop, usage={"output_tokens": count * size * WORDS_AN_EVENT})
    yield 0, event("message_stop")


@functools.lru_cache(maxsize=8)
def _large(path: str, tokens: int) -> bytes:
    return json.dumps(_whole(path, tokens, 0, _TEXT * _LARGE_ANSWER)).encode()


def _whole(path: str, tokens: int, number: int, text: str = _TEXT) -> dict[str, Any]:
    if path.endswith("/messages"):
        usage = {"input_tokens": INPUT_TOKENS, "output_tokens": tokens}
        return _message([{"type": "text", "text": text}], usage, "end_turn")
    if path.endswith("/responses"):
        return _response(f"resp_{number:024d}", tokens, text)
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        return {"object": "list", "model": "bench", "data": data, "usage": _usage(0)}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench"}
    return {**completion, "choices": [choice], "usage": _usage(tokens)}


def _response(id_: str, tokens: int = 30, text: str = _TEXT) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    output = [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}]
    usage = {"input_tokens": INPUT_TOKENS, "output_tokens": tokens, "total_tokens": INPUT_TOKENS + tokens}
    response = {"id": id_, "object": "response", "created_at": 1, "status": "completed", "model": "bench"}
    return {**response, "output": output, "usage": usage}


def _message(content: list[Any], usage: dict[str, int], stop: str | None) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "bench", "content": content}
    return {**message, "stop_reason": stop, "stop_sequence": None, "usage": usage}


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": INPUT_TOKENS, "completion_tokens": tokens, "total_tokens": INPUT_TOKENS + tokens}


def _data(message: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(message, separators=(",", ":")).encode()


def _json(message: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(message, status=status, headers=headers)


def main() -> None:
    """Serve on loopback until the process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    web.run_app(HostileUpstream().app(), host="127.0.0.1", port=options.port, print=None, access_log=None, backlog=1024)


if __name__ == "__main__":
    main()
