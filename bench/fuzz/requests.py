"""Mutated requests on all surfaces.

The upstream has no faults, so a status of 500 or more is an error of the gateway, as is a traceback in its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httptools

from bench.fuzz.findings import SEED, Finding, Result, run_all
from bench.gateway.processes import Start, unchanged
from tests.faults.gateways import KEY, fault_card
from tests.faults.process import route_serve, served
from tests.faults.upstream import Upstream, fault_upstream
from tests.fuzz.judge import Reply, reply_problems, upstream_problems
from tests.fuzz.mutations import FuzzRequest, fuzz_request

_TIMEOUT_S = 30.0
_LARGEST_READ = 1 << 16


class _Reader:
    """Collects one response; called by httptools."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.started = self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.started = True

    def on_body(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def on_message_complete(self) -> None:
        self.done = True


class _Client:
    """One connection, reopened after the gateway closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: FuzzRequest) -> Reply:
        """The response, with status 0 if there is none."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._ask(request)
        except TimeoutError:
            self.close()
            return Reply(0, {}, b"not within %d s" % _TIMEOUT_S)
        except (OSError, httptools.HttpParserError) as error:
            self.close()
            return Reply(0, {}, repr(error).encode())

    async def _ask(self, request: FuzzRequest) -> Reply:
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._open
        collected = _Reader()
        parser = httptools.HttpResponseParser(collected)
        writer.write(request.raw)
        # The response may arrive before the request has been sent completely, and the connection may close.
        sending = asyncio.ensure_future(writer.drain())
        try:
            while not collected.done and not (collected.started and request.method == "HEAD"):
                chunk = await reader.read(_LARGEST_READ)
                if not chunk:
                    self.close()
                    if not collected.started:
                        return Reply(0, {}, b"the connection was closed")
                    break
                parser.feed_data(chunk)
            is_complete = collected.done or request.method == "HEAD"
            reply = Reply(parser.get_status_code(), collected.headers, b"".join(collected.chunks))
            if not is_complete:
                return Reply(0, {}, b"the connection broke during the response: " + reply.body[-100:])
            if request.method == "HEAD" or not sending.done() or not parser.should_keep_alive():
                self.close()
            return reply
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def close(self) -> None:
        """Close the connection."""
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None


def fuzz_requests(numbers: list[int], seed: int = SEED, started: Callable[[Start], Start] = unchanged) -> Result:
    """Send the requests of these numbers; the result has the problems.

    `started` may say how else the gateway is to be started.
    """
    result = Result()
    with (
        tempfile.TemporaryDirectory() as scratch,
        fault_upstream() as upstream,
        _gateway(Path(scratch), upstream.url, started) as (port, log),
    ):
        asyncio.run(_send_all(numbers, seed, port, upstream, result))
        result.add_log(log)
    return result


@contextlib.contextmanager
def _gateway(folder: Path, url: str, started: Callable[[Start], Start]) -> Iterator[tuple[int, Path]]:
    fields: dict[str, Any] = {
        "capabilities": ("tools", "json_schema", "reasoning", "logprobs"),
        "modalities": ("text", "image", "pdf"),
    }
    # Both support OpenAI's protocols; the second also supports Anthropic's.
    apis = ("chat", "completions", "embeddings")
    cards = [
        fault_card("one", url, "ok", price=1.0, tags=("beta",), aliases=("first",), apis=apis, **fields),
        fault_card("two", url, "ok", price=2.0, apis=(*apis, "messages"), context_tokens=8_192, **fields),
    ]
    with served(started(route_serve(folder, cards))) as (_, server):
        yield server.port, folder / "serve.log"


async def _send_all(numbers: list[int], seed: int, port: int, upstream: Upstream, result: Result) -> None:
    idle: list[_Client] = []

    async def send(number: int) -> None:
        request, client = fuzz_request(seed, number), idle.pop() if idle else _Client(port)
        reply = await client.send(request)
        idle.append(client)
        result.statuses[reply.status] += 1
        result.findings += (Finding(problem, number) for problem in reply_problems(request, reply))
        _check_upstream(upstream, result)

    await run_all(numbers, send, result)
    # The gateway must still work.
    last_client = _Client(port)
    for number in itertools.count():
        valid = fuzz_request(seed, number)
        if valid.method == "POST" and (await last_client.send(valid)).status == 200:
            break
        if number > 200:
            result.findings.append(Finding("the gateway no longer responds"))
            break
    for client in (last_client, *idle):
        client.close()


def _check_upstream(upstream: Upstream, result: Result) -> None:
    while upstream.seen:
        seen = upstream.seen.pop()
        result.upstream_calls += 1
        result.findings += (
            Finding(f"the upstream received {problem}") for problem in upstream_problems(seen.headers, seen.body, KEY)
        )
