"""A model server at socket level that counts the tokens that it has delivered, with a fault of its own per request.

A token is a word of five bytes. What to do is in the model's name, `<fault>`; whose request it is, in the prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

WORD = "word "
TOKENS, PIECES = 200, 8
"""The length of an answer, in tokens, and in how many pieces it is sent."""
INPUT_TOKENS = 7
DOLLAR_TOKENS = 100_000
"""What the model `dollar` reports, as if it had thought."""
PAUSE_S = 0.01
HANG_S = 30.0

ABSURD: dict[str, Any] = {
    "huge": 10**4000,
    "float": 1e6,
    "negative": -5,
    "bool": True,
    "text": "many",
    "infinite": float("inf"),
}
"""Counts of tokens that no answer has."""
FAULTS = (
    "complete",
    "no-usage",
    "partial-usage",
    "early-usage",
    "low-usage",
    "zero-usage",
    "null-usage",
    "cut",
    "reset",
    "hang",
    "error-event",
    *(f"absurd-{name}" for name in ABSURD),
)
BREAKS = ("cut", "reset", "hang", "error-event")
"""Faults after half of the answer."""


class CountingUpstream:
    """`delivered` are the tokens by the name of the request, `at_once` how many calls ran when each began."""

    def __init__(self) -> None:
        self.url = ""
        self.delivered: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.running = 0
        self.at_once: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(writer.transport.abort)
            cleanup.enter_context(contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError))
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if head.startswith("GET"):
                    models = b'{"data":[{"id":"complete"},{"id":"dollar"}]}'
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(models), models))
                    continue
                length = int(re.search(r"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
                body = json.loads(await reader.readexactly(length))
                api = head.split(" ")[1].removeprefix("/v1/")
                if "GenerateContent" in api or "generateContent" in api:
                    # Gemini's paths say what its bodies do not.
                    model, _, verb = api.rpartition("/")[2].partition(":")
                    body |= {"model": model, "stream": verb.startswith("stream")}
                    api = "gemini"
                self.running += 1
                self.at_once.append(self.running)
                try:
                    is_open = await self._answer(writer, api, body)
                finally:
                    self.running -= 1
                if not is_open:
                    writer.close()
                    await writer.wait_closed()
                    break

    async def _answer(self, writer: asyncio.StreamWriter, api: str, body: dict[str, Any]) -> bool:
        """Whether the connection is still open afterwards."""
        name = re.search(r"request-[a-z0-9._-]+", json.dumps(body))[0]  # type: ignore[index]
        self.calls[name] += 1
        fault = body["model"]
        kind = "text/event-stream" if body.get("stream") else "application/json"
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        parts = _events(api, fault) if body.get("stream") else _whole(api, fault)
        async for text, tokens in parts:
            if text == "reset":
                # A reset makes the gateway's system drop what the gateway has not read yet.
                await asyncio.sleep(0.5)
                writer.transport.abort()
                return False
            if text == "hang":
                await asyncio.sleep(HANG_S)
                return False
            if text == "cut":
                return False
            writer.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
            await writer.drain()
            if writer.transport.is_closing():
                return False
            self.delivered[name] += tokens
            await asyncio.sleep(PAUSE_S)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


@contextlib.contextmanager
def counting_upstream() -> Iterator[CountingUpstream]:
    """Serve on a loopback port, in a thread of its own."""
    upstream, started = CountingUpstream(), threading.Event()
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=1024)
        upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await ended.wait()
        server.close()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(5)
        yield upstream
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


def _reported(api: str, fault: str) -> dict[str, Any] | None:
    """The usage that is reported at the end."""
    counts: dict[str, tuple[Any, Any] | None] = {
        "no-usage": None,
        "partial-usage": (INPUT_TOKENS, None),
        "early-usage": None,
        "low-usage": (INPUT_TOKENS, 1),
        "zero-usage": (0, 0),
        "dollar": (INPUT_TOKENS, DOLLAR_TOKENS),
        "null-usage": (None, None),
        **{f"absurd-{name}": (value, value) for name, value in ABSURD.items()},
    }
    pair = counts.get(fault, (INPUT_TOKENS, TOKENS))
    if pair is None:
        return None
    names = _COUNTS.get(api, ("input_tokens", "output_tokens"))
    usage = dict(zip(names, pair, strict=True))
    return {name: value for name, value in usage.items() if value is not None or fault == "null-usage"}


def _sse(event: dict[str, Any]) -> str:
    return (
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        if "type" in event
        else f"data: {json.dumps(event)}\n\n"
    )


async def _events(api: str, fault: str) -> AsyncIterator[tuple[str, int]]:
    usage = _reported(api, fault)
    start, piece, end = _WRITERS[api]
    for event in start(fault):
        yield _sse(event), 0
    for number in range(PIECES):
        if fault in BREAKS and number == PIECES // 2:
            yield (
                (_sse({"error": {"message": "out of luck", "type": "server_error"}, "type": "error"}), 0)
                if (fault == "error-event")
                else (fault, 0)
            )
            return
        for event in piece(WORD * (TOKENS // PIECES)):
            yield _sse(event), TOKENS // PIECES
        if fault == "early-usage" and number == PIECES // 2 and "completions" in api:
            yield _sse({**_HEAD, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": TOKENS // 2}}), 0
    for event in end(usage):
        yield _sse(event), 0
    if "completions" in api:
        yield "data: [DONE]\n\n", 0


async def _whole(api: str, fault: str) -> AsyncIterator[tuple[str, int]]:
    usage = _reported(api, fault)
    answer = _ANSWERS[api](WORD * TOKENS)
    if usage is not None:
        answer["usageMetadata" if api == "gemini" else "usage"] = usage
    if fault == "error-event":
        yield json.dumps({"error": {"message": "out of luck", "type": "server_error"}}), 0
        return
    before, text, after = json.dumps(answer).partition(WORD * TOKENS)
    yield before, 0
    half = len(text) // 2
    yield text[:half], TOKENS // 2
    await asyncio.sleep(0.1)
    if fault in BREAKS:
        yield fault, 0
        return
    yield text[half:], TOKENS // 2
    yield after, 0


_HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_MESSAGE = {"id": "m1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
_ITEM = {"id": "i1", "type": "message", "role": "assistant", "status": "completed"}
_RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}


def _chat_piece(text: str) -> list[dict[str, Any]]:
    return [{**_HEAD, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}]


def _chat_end(usage: Any) -> list[dict[str, Any]]:
    finish = {**_HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [finish, *([] if usage is None else [{**_HEAD, "choices": [], "usage": usage}])]


def _completion_piece(text: str) -> list[dict[str, Any]]:
    return [{**_HEAD, "choices": [{"index": 0, "text": text, "finish_reason": None}]}]


def _completion_end(usage: Any) -> list[dict[str, Any]]:
    finish = {**_HEAD, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}
    return [finish, *([] if usage is None else [{**_HEAD, "choices": [], "usage": usage}])]


def _message_start(fault: str) -> list[dict[str, Any]]:
    # Anthropic states one token of output before the answer begins; others state more.
    output = 40 if fault == "early-usage" else 1
    usage = {} if fault == "no-usage" else {"usage": {"input_tokens": INPUT_TOKENS, "output_tokens": output}}
    return [
        {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None, **usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]


def _message_piece(text: str) -> list[dict[str, Any]]:
    return [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}]


def _message_end(usage: Any) -> list[dict[str, Any]]:
    last = {} if usage is None else {"usage": usage}
    return [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, **last},
        {"type": "message_stop"},
    ]


def _response_start(_: str) -> list[dict[str, Any]]:
    return [{"type": "response.created", "response": _RESPONSE}]


def _response_piece(text: str) -> list[dict[str, Any]]:
    return [
        {"type": "response.output_text.delta", "item_id": "i1", "output_index": 0, "content_index": 0, "delta": text}
    ]


def _response_end(usage: Any) -> list[dict[str, Any]]:
    whole = _response_answer(WORD * TOKENS)
    text = {"item_id": "i1", "output_index": 0, "content_index": 0, "text": WORD * TOKENS}
    done = {"type": "response.output_text.done", **text}
    return [done, {"type": "response.completed", "response": {**whole, **({} if usage is None else {"usage": usage})}}]


def _chat_answer(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {**_HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def _completion_answer(text: str) -> dict[str, Any]:
    return {**_HEAD, "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}


def _message_answer(text: str) -> dict[str, Any]:
    return {**_MESSAGE, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}


def _response_answer(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {**_RESPONSE, "status": "completed", "output": [{**_ITEM, "content": [part]}]}


def _gemini_answer(text: str, **fields: str) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0, **fields}], "modelVersion": "m"}


def _gemini_whole(text: str) -> dict[str, Any]:
    return _gemini_answer(text, finishReason="STOP")


def _gemini_piece(text: str) -> list[dict[str, Any]]:
    return [_gemini_answer(text)]


def _gemini_end(usage: Any) -> list[dict[str, Any]]:
    return [{**_gemini_answer("", finishReason="STOP"), **({} if usage is None else {"usageMetadata": usage})}]


_COUNTS = {
    "chat/completions": ("prompt_tokens", "completion_tokens"),
    "completions": ("prompt_tokens", "completion_tokens"),
    "gemini": ("promptTokenCount", "candidatesTokenCount"),
}
_WRITERS: dict[str, Any] = {
    "chat/completions": (lambda _: [], _chat_piece, _chat_end),
    "completions": (lambda _: [], _completion_piece, _completion_end),
    "messages": (_message_start, _message_piece, _message_end),
    "responses": (_response_start, _response_piece, _response_end),
    "gemini": (lambda _: [], _gemini_piece, _gemini_end),
}
_ANSWERS: dict[str, Any] = {
    "chat/completions": _chat_answer,
    "completions": _completion_answer,
    "messages": _message_answer,
    "responses": _response_answer,
    "gemini": _gemini_whole,
}
