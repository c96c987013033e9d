"""Requests that were valid once, against a real gateway: `python -m bench.fuzz [--requests N] [--only NUMBER]`.

The upstream answers everything well, so an answer of 500 or more is the gateway's own fault, as is anything in its log
that looks like a traceback. Ends with 1 where something was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httptools
import msgspec

from tests.faults.gateways import KEY, fault_card
from tests.faults.process import route_serve, served
from tests.faults.upstream import Upstream, fault_upstream
from tests.fuzz.judge import Reply, reply_problems, upstream_problems
from tests.fuzz.mutations import Shot, shot

REQUESTS, SEED = 20_000, 4
_CONNECTIONS = 8
_PATIENCE_S = 30.0
_NEXT_LINE = "\n{"
_LARGEST_READ = 1 << 16


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong, and the request that showed it; None where it is not known which."""

    problem: str
    shot: Shot | None


class Result(msgspec.Struct):
    """What came of it. `slowest` are the longest times in seconds with the numbers of their requests."""

    findings: list[Finding] = []
    statuses: collections.Counter[int] = msgspec.field(default_factory=collections.Counter)
    upstream_calls: int = 0
    elapsed_s: float = 0.0
    slowest: list[tuple[float, int]] = []


class _Reader:
    """Collects one answer; httptools calls it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.begun = self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.done = True


class _Line:
    """One connection, opened again where the gateway closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Shot) -> Reply:
        """The answer, with status 0 where there is none."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._ask(request)
        except TimeoutError:
            self.close()
            return Reply(0, {}, b"not within %d s" % _PATIENCE_S)
        except (OSError, httptools.HttpParserError) as error:
            self.close()
            return Reply(0, {}, repr(error).encode())

    async def _ask(self, request: Shot) -> Reply:
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._open
        collected = _Reader()
        parser = httptools.HttpResponseParser(collected)
        writer.write(request.raw)
        # The answer may come before all has been sent, and the connection close.
        sending = asyncio.ensure_future(writer.drain())
        try:
            while not collected.done and not (collected.begun and request.method == "HEAD"):
                piece = await reader.read(_LARGEST_READ)
                if not piece:
                    self.close()
                    if not collected.begun:
                        return Reply(0, {}, b"the connection was closed")
                    break
                parser.feed_data(piece)
            whole = collected.done or request.method == "HEAD"
            reply = Reply(parser.get_status_code(), collected.headers, b"".join(collected.pieces))
            if not whole:
                return Reply(0, {}, b"the connection broke in the answer: " + reply.body[-100:])
            if request.method == "HEAD" or not sending.done() or not parser.should_keep_alive():
                self.close()
            return reply
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def close(self) -> None:
        """Hang up."""
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None


def fuzz(numbers: list[int], seed: int = SEED) -> Result:
    """Send the requests of these numbers, and say what is wrong."""
    result = Result()
    with (
        tempfile.TemporaryDirectory() as scratch,
        fault_upstream() as upstream,
        _gateway(Path(scratch), upstream.url) as (port, log),
    ):
        begun = time.perf_counter()
        asyncio.run(_all(numbers, seed, port, upstream, result))
        result.elapsed_s = time.perf_counter() - begun
        result.slowest = sorted(result.slowest, reverse=True)[:3]
        said = log.read_text(errors="replace")
        for trace in said.split("Traceback (most recent call last):")[1:]:
            # Its end says most; what follows is the next line of the access log.
            result.findings.append(Finding(f"a traceback in the log: …{trace.partition(_NEXT_LINE)[0][-500:]}", None))
    return result


@contextlib.contextmanager
def _gateway(folder: Path, url: str) -> Iterator[tuple[int, Path]]:
    able: dict[str, Any] = {
        "capabilities": ("tools", "json_schema", "reasoning", "logprobs"),
        "modalities": ("text", "image", "pdf"),
    }
    # Both speak the OpenAI protocol; the second is Anthropic's as well.
    apis = ("chat", "completions", "embeddings")
    cards = [
        fault_card("one", url, "ok", price=1.0, tags=("beta",), aliases=("first",), apis=apis, **able),
        fault_card("two", url, "ok", price=2.0, apis=(*apis, "messages"), context_tokens=8_192, **able),
    ]
    with served(route_serve(folder, cards)) as (_, server):
        yield server.port, folder / "serve.log"


async def _all(numbers: list[int], seed: int, port: int, upstream: Upstream, result: Result) -> None:
    queue = iter(numbers)
    await asyncio.gather(*(_some(queue, seed, port, upstream, result) for _ in range(_CONNECTIONS)))
    # Whatever it was given, it must still work.
    last = _Line(port)
    for number in itertools.count():
        sane = shot(seed, number)
        if sane.method == "POST" and (await last.ask(sane)).status == 200:
            break
        if number > 200:
            result.findings.append(Finding("nothing is answered any more", None))
            break
    last.close()


async def _some(queue: Iterator[int], seed: int, port: int, upstream: Upstream, result: Result) -> None:
    line = _Line(port)
    for number in queue:
        request = shot(seed, number)
        begun = time.perf_counter()
        reply = await line.ask(request)
        result.slowest.append((time.perf_counter() - begun, number))
        result.statuses[reply.status] += 1
        result.findings += (Finding(problem, request) for problem in reply_problems(request, reply))
        _judge_upstream(upstream, result)
    line.close()


def _judge_upstream(upstream: Upstream, result: Result) -> None:
    while upstream.seen:
        seen = upstream.seen.pop()
        result.upstream_calls += 1
        result.findings += (
            Finding(f"the upstream got {problem}", None) for problem in upstream_problems(seen.headers, seen.body, KEY)
        )


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, help="send the request of this number alone, and print it")
    chosen = parser.parse_args()
    numbers = list(range(chosen.requests)) if chosen.only is None else [chosen.only]
    result = fuzz(numbers, chosen.seed)
    if chosen.only is not None:
        print(shot(chosen.seed, chosen.only).raw[:4_000].decode("latin-1"))
    kinds = collections.Counter(finding.problem for finding in result.findings)
    for problem, count in kinds.most_common(40):
        example = next((each.shot.number for each in result.findings if each.problem == problem and each.shot), None)
        print(f"{count:6d} × {problem}" + (f"  (--only {example})" if example is not None else ""))
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(result.statuses.items()))
    print(
        f"{len(numbers)} requests in {result.elapsed_s:.1f} s, {result.upstream_calls} reached the upstream: {statuses}"
    )
    print("slowest: " + ", ".join(f"{seconds:.2f} s (--only {number})" for seconds, number in result.slowest))
    print(f"wrong: {len(result.findings)}")
    sys.exit(int(bool(result.findings)))


if __name__ == "__main__":
    main()
