"""Mutated answers of model servers: whatever comes, no own 500, no traceback, no hang, and no internals shown.

A status of 502, 503 or 504 is right where a client can be given nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp

from bench.fuzz.findings import SEED, Finding, Result, run_all
from bench.gateway.processes import Start, unchanged
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.fuzz.judge import INTERNALS
from tests.fuzz.streams import fuzz_answer

_TIMEOUT_S = 20.0
_NUMBER = re.compile(rb"fuzz=(\d+)")
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_PROTOCOL = re.compile(rb"POST /\S*?/v1/(\S+)")
_TIMEOUTS = {"connect": "2s", "first_token": "2s", "idle": "1s", "total": "6s"}
# Every surface, with cards whose server has its protocol and cards for which it is converted.
_CARDS = {"chat": ("chat", "completions"), "claude": ("messages",), "responder": ("responses",)}
_PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions", "/api/chat", "/api/generate")
_OWN_ERROR, _REPORTED = 500, b"reported an error"


def fuzz_streams(numbers: list[int], seed: int = SEED, started: Callable[[Start], Start] = unchanged) -> Result:
    """Ask for the answers of these numbers, on all surfaces, whole and as streams.

    `started` may say how else the gateway is to be started.
    """
    result = Result()
    with tempfile.TemporaryDirectory() as scratch, _upstream(seed, result) as port:
        folder, url = Path(scratch), f"http://127.0.0.1:{port}"
        cards = [
            fault_card(name, url, "ok", "messages" if apis == ("messages",) else "chat", apis=apis)
            for name, apis in _CARDS.items()
        ]
        # Every answer is asked for: cards whose answers are damaged would cool down.
        settings = {"timeouts": _TIMEOUTS, "retries": 0, "cooldown": {"failures": 1_000_000}}
        with served(started(route_serve(folder, cards, settings))) as (gateway, _):
            asyncio.run(_send_all(numbers, seed, gateway, result))
        result.add_log(folder / "serve.log")
    return result


async def _send_all(numbers: list[int], seed: int, url: str, result: Result) -> None:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(url, timeout=timeout, auto_decompress=False) as session:

        async def send(number: int) -> None:
            rng = random.Random(f"ask:{seed}:{number}")
            path, card, stream = rng.choice(_PATHS), rng.choice(list(_CARDS)), rng.random() < 0.8
            try:
                async with session.post(path, json=_body(path, card, stream, number)) as response:
                    result.statuses[response.status] += 1
                    content = await response.read()
            except TimeoutError:
                result.findings.append(Finding(f"a hang: no end within {_TIMEOUT_S:.0f} s", number))
                return
            except aiohttp.ClientPayloadError:
                # An answer that the gateway breaks off, since it cannot end it otherwise.
                return
            except aiohttp.ClientError as error:
                result.findings.append(Finding(f"no answer ({type(error).__name__})", number))
                return
            # A model server may report a 500 of its own in an event.
            if response.status == _OWN_ERROR and _REPORTED not in content:
                result.findings.append(Finding(f"{path} of {card}: {response.status} {content[:120]!r}", number))
            if match := INTERNALS.search(content):
                result.findings.append(Finding(f"{path} of {card} shows {match[0]!r}", number))

        await run_all(numbers, send, result)


def _body(path: str, card: str, stream: bool, number: int) -> dict[str, object]:
    text = f"Say hello. fuzz={number}"
    body: dict[str, object] = {"model": card, "stream": stream, "max_tokens": 64}
    if path.endswith("/responses"):
        del body["max_tokens"]
        return {**body, "input": text}
    if path.endswith(("/completions", "/generate")) and "chat" not in path:
        return {**body, "prompt": text}
    return {**body, "messages": [{"role": "user", "content": text}]}


@contextlib.contextmanager
def _upstream(seed: int, result: Result) -> Iterator[int]:
    """The model server in a thread of its own; the value is its port."""
    ready, ports = threading.Event(), [0]
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _answer(reader, writer, seed, result)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports[0] = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seed: int, result: Result) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length, protocol = _LENGTH.search(head), _PROTOCOL.match(head)
    if protocol is None:
        models = json.dumps({"object": "list", "data": [{"id": "ok", "object": "model"}]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(models) + models)
        await writer.drain()
        return
    body = await reader.readexactly(int(length[1])) if length else b""
    result.upstream_calls += 1
    number = int(found[1]) if (found := _NUMBER.search(body)) else 0
    for piece in fuzz_answer(seed, number, protocol[1].decode(), b'"stream":true' in body.replace(b" ", b"")).pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
