"""A long run against a real gateway: `python -m bench.soak [--requests N] [--every N] [--connections N]`.

With `--minutes N` hostile clients run beside honest ones (`bench.hostile.soak`).

Requests with and without streaming on both chat surfaces, prompts without repeats, upstream faults, and client
disconnects. The gateway's resident memory must stay within 10 % of its value at the first line, and requests with a
healthy candidate must all be answered. Exits with status 1 if one of the two fails. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench.decision import texts
from bench.gateway.processes import Server
from bench.hostile.soak import report, soak
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.surfaces import PATHS, Surface

REQUESTS, EVERY, CONNECTIONS = 200_000, 20_000, 32
GROWTH = 0.10
# Every fault has a healthy fallback. Faults that hang would make the run long; the disconnecting clients use those.
FAULTS = (
    "rate-limited",
    "server-error",
    "bad-gateway-page",
    "cuts-before-headers",
    "cuts-after-role",
    "error-after-role",
    "error-in-200",
    "garbage-json",
    "wrong-content-type",
    "closes-after-each",
    "drops-reused",
)
# After content was sent there is no fallback, and the client gets an error.
_FAULTS_AFTER_CONTENT = ("cuts-mid-stream", "resets-mid-stream", "cuts-mid-chunk")
_SHARES = {"ok": 0.80, "fault": 0.12, "shown": 0.03, "leaves": 0.03, "refused": 0.02}
_SEED = 4
_TIMEOUT = aiohttp.ClientTimeout(total=60)


class Row(msgspec.Struct, frozen=True):
    """The state after `requests`; memory in MB of the gateway's processes."""

    requests: int
    elapsed_s: float
    rss_mb: float
    files: int
    threads: int


class Soak:
    """A run in progress."""

    def __init__(self, url: str, server: Server, requests: int, every: int) -> None:
        self.rows: list[Row] = []
        self.kinds: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self._url, self._server, self._requests, self._every = url, server, requests, every
        self._rng = random.Random(_SEED)
        self._prompts = iter(texts(requests, 55))
        self._done = 0
        self._started = time.perf_counter()

    async def run(self, connections: int) -> None:
        """Send all requests, one at a time on every connection."""
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(self._url, connector=connector, timeout=_TIMEOUT) as session:
            numbers = iter(range(self._requests))
            await asyncio.gather(*(self._send_from(session, numbers) for _ in range(connections)))

    async def _send_from(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for _ in numbers:
            kind = self._rng.choices(list(_SHARES), list(_SHARES.values()))[0]
            surface: Surface = "anthropic" if self._rng.random() < 0.3 else "openai"
            stream = self._rng.random() < 0.5
            try:
                problem = await self._send_one(session, kind, surface, stream)
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = repr(error)
            if problem:
                self.problems.append(f"{kind}, {surface}, {'stream' if stream else 'whole'}: {problem}")
            self.kinds[kind] += 1
            self._done += 1
            if self._done % self._every == 0 or self._done == self._requests:
                self._add_row()

    async def _send_one(self, session: aiohttp.ClientSession, kind: str, surface: Surface, stream: bool) -> str:
        """Send one request; returns the problem of its response, empty if there is none."""
        body: dict[str, Any] = {"model": self._model(kind), "max_tokens": 64, "stream": stream}
        body["messages"] = [{"role": "user", "content": next(self._prompts)}]
        async with contextlib.AsyncExitStack() as stack:
            if kind == "leaves":
                # The upstream hangs for longer, before its headers or in the middle of the stream.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.uniform(0.01, 0.1)):
                        response = await stack.enter_async_context(session.post(PATHS[surface], json=body))
                        await response.read()
                return ""
            response = await stack.enter_async_context(session.post(PATHS[surface], json=body))
            content = await response.read()
            return _problem(kind, stream, response.status, content)

    def _model(self, kind: str) -> str:
        if kind == "fault":
            return f"auto[tag={self._rng.choice(FAULTS)}]"
        if kind == "shown":
            return self._rng.choice(_FAULTS_AFTER_CONTENT)
        if kind == "refused":
            return "unknown-model"
        if kind == "leaves":
            return self._rng.choice(("hangs-before-headers", "hangs-mid-stream"))
        return self._rng.choice(("auto[tag=healthy]", "healthy-1", "auto/cheap[tag=healthy]"))

    def _add_row(self) -> None:
        proc = Path(f"/proc/{self._server.pid}")
        threads = re.search(r"^Threads:\s*(\d+)", (proc / "status").read_text(), re.MULTILINE)
        self.rows.append(
            Row(
                self._done,
                time.perf_counter() - self._started,
                self._server.rss_mb(),
                len(list((proc / "fd").iterdir())),
                int(threads[1]) if threads else 0,
            )
        )
        row, first = self.rows[-1], self.rows[0]
        print(
            f"{row.requests:8d}  {row.elapsed_s:7.1f} s  {row.requests / row.elapsed_s:6.0f}/s  {row.rss_mb:7.1f} MB  "
            f"{row.rss_mb / first.rss_mb - 1:+7.1%}  {row.files:4d} files  {row.threads:3d} threads  "
            f"{len(self.problems)} wrong",
            flush=True,
        )


def _problem(kind: str, stream: bool, status: int, content: bytes) -> str:
    if kind == "refused":
        return "" if 400 <= status < 500 else f"{status}: {content[:200]!r}"
    if kind == "shown":
        # The candidate may be cooling down, which is a valid error.
        is_error = status >= 500 or (stream and b'"error"' in content and b"[DONE]" not in content)
        return "" if is_error else f"{status}: {content[-200:]!r}"
    ended = not stream or b"data: [DONE]" in content or b"event: message_stop" in content
    return "" if status == 200 and ended else f"{status}: {content[-200:]!r}"


@contextlib.contextmanager
def _upstream() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.upstream"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _gateway(folder: Path, url: str) -> Iterator[tuple[str, Server]]:
    cards = [fault_card(f"healthy-{number}", url, "ok", tags=("healthy",), price=number) for number in (1, 2, 3)]
    cards += [
        fault_card(name, url, name) for name in (*_FAULTS_AFTER_CONTENT, "hangs-before-headers", "hangs-mid-stream")
    ]
    for fault in FAULTS:
        cards.append(fault_card(f"{fault}.first", url, fault, tags=(fault,), price=0.1))
        cards.append(fault_card(f"{fault}.fallback", url, "ok", tags=(fault,), price=9.0))
    with served(route_serve(folder, cards)) as running:
        yield running


def main() -> None:
    """Print a line every N requests, then the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--every", type=int, default=EVERY)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--minutes", type=float, help="hostile and honest clients together, for so long")
    options = parser.parse_args()
    if options.minutes is not None:
        sys.exit(int(not report(soak(options.minutes))))
    with (
        tempfile.TemporaryDirectory() as scratch,
        _upstream() as upstream,
        _gateway(Path(scratch), upstream) as (url, server),
    ):
        run = Soak(url, server, options.requests, options.every)
        asyncio.run(run.run(options.connections))
    growth = run.rows[-1].rss_mb / run.rows[0].rss_mb - 1
    print(json.dumps(run.kinds))
    for problem, count in collections.Counter(run.problems).most_common(10):
        print(f"{count:6d} × {problem}")
    passed = growth <= GROWTH and not run.problems
    print(f"memory {growth:+.1%} of that after {run.rows[0].requests} requests, {len(run.problems)} wrong answers")
    sys.exit(int(not passed))


if __name__ == "__main__":
    main()
