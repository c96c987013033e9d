"""Mutated requests against a real gateway: `python -m bench.fuzz [--requests N] [--only NUMBER]`.

The upstream has no faults, so a status of 500 or more is an error of the gateway, as is a traceback in its log. Exits
with status 1 if there were problems.
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
from tests.fuzz.mutations import FuzzRequest, fuzz_request

REQUESTS, SEED = 20_000, 4
_CONNECTIONS = 8
_TIMEOUT_S = 30.0
_NEXT_LINE = "\n{"
_LARGEST_READ = 1 << 16


class Finding(msgspec.Struct, frozen=True):
    """A problem, and the request that caused it; None if that is unknown."""

    problem: str
    fuzz_request: FuzzRequest | None


class Result(msgspec.Struct):
    """The result of a run. `slowest` are the longest durations in seconds with the numbers of their requests."""

    findings: list[Finding] = []
    statuses: collections.Counter[int] = msgspec.field(default_factory=collections.Counter)
    upstream_calls: int = 0
    elapsed_s: float = 0.0
    slowest: list[tuple[float, int]] = []


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


def fuzz(numbers: list[int], seed: int = SEED) -> Result:
    """Send the requests of these numbers; the result has the problems."""
    result = Result()
    with (
        tempfile.TemporaryDirectory() as scratch,
        fault_upstream() as upstream,
        _gateway(Path(scratch), upstream.url) as (port, log),
    ):
        started = time.perf_counter()
        asyncio.run(_send_all(numbers, seed, port, upstream, result))
        result.elapsed_s = time.perf_counter() - started
        result.slowest = sorted(result.slowest, reverse=True)[:3]
        log_text = log.read_text(errors="replace")
        for trace in log_text.split("Traceback (most recent call last):")[1:]:
            # The end of a traceback is the most useful part; after it comes the next line of the access log.
            result.findings.append(Finding(f"a traceback in the log: …{trace.partition(_NEXT_LINE)[0][-500:]}", None))
    return result


@contextlib.contextmanager
def _gateway(folder: Path, url: str) -> Iterator[tuple[int, Path]]:
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
    with served(route_serve(folder, cards)) as (_, server):
        yield server.port, folder / "serve.log"


async def _send_all(numbers: list[int], seed: int, port: int, upstream: Upstream, result: Result) -> None:
    queue = iter(numbers)
    await asyncio.gather(*(_send_from(queue, seed, port, upstream, result) for _ in range(_CONNECTIONS)))
    # The gateway must still work.
    last_client = _Client(port)
    for number in itertools.count():
        valid = fuzz_request(seed, number)
        if valid.method == "POST" and (await last_client.send(valid)).status == 200:
            break
        if number > 200:
            result.findings.append(Finding("the gateway no longer responds", None))
            break
    last_client.close()


async def _send_from(queue: Iterator[int], seed: int, port: int, upstream: Upstream, result: Result) -> None:
    client = _Client(port)
    for number in queue:
        request = fuzz_request(seed, number)
        started = time.perf_counter()
        reply = await client.send(request)
        result.slowest.append((time.perf_counter() - started, number))
        result.statuses[reply.status] += 1
        result.findings += (Finding(problem, request) for problem in reply_problems(request, reply))
        _check_upstream(upstream, result)
    client.close()


def _check_upstream(upstream: Upstream, result: Result) -> None:
    while upstream.seen:
        seen = upstream.seen.pop()
        result.upstream_calls += 1
        result.findings += (
            Finding(f"the upstream received {problem}", None)
            for problem in upstream_problems(seen.headers, seen.body, KEY)
        )


def main() -> None:
    """Print the problems, statuses and slowest requests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", type=int, help="send the request of this number alone, and print it")
    options = parser.parse_args()
    numbers = list(range(options.requests)) if options.only is None else [options.only]
    result = fuzz(numbers, options.seed)
    if options.only is not None:
        print(fuzz_request(options.seed, options.only).raw[:4_000].decode("latin-1"))
    kinds = collections.Counter(finding.problem for finding in result.findings)
    for problem, count in kinds.most_common(40):
        example = next(
            (
                finding.fuzz_request.number
                for finding in result.findings
                if finding.problem == problem and finding.fuzz_request
            ),
            None,
        )
        print(f"{count:6d} × {problem}" + (f"  (--only {example})" if example is not None else ""))
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(result.statuses.items()))
    print(
        f"{len(numbers)} requests in {result.elapsed_s:.1f} s, {result.upstream_calls} reached the upstream: {statuses}"
    )
    print("slowest: " + ", ".join(f"{seconds:.2f} s (--only {number})" for seconds, number in result.slowest))
    print(f"problems: {len(result.findings)}")
    sys.exit(int(bool(result.findings)))


if __name__ == "__main__":
    main()
