"""Raw heads on connections of their own: no own 5xx, no traceback, no hang, and nothing reaches an upstream."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml

from bench.fuzz.findings import SEED, Finding, Result, run_all
from bench.gateway.processes import Start, unchanged
from router.gateway.config.keys import hash_of, new_key
from tests.faults.gateways import fault_card
from tests.faults.process import route_serve, served
from tests.faults.upstream import fault_upstream
from tests.fuzz.heads import fuzz_head

_TIMEOUT_S = 20.0
_STATUS = re.compile(rb"(?:^|\r\n\r\n|\r\n|\}|\n)HTTP/1\.[01] (\d{3})")
# What HTTP provides for a version or a transfer coding that a server does not know; and for too many requests.
_ALLOWED = (501, 505)
_HEALTHY = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def fuzz_heads(numbers: list[int], seed: int = SEED, started: Callable[[Start], Start] = unchanged) -> Result:
    """Send the heads of these numbers to a gateway whose key none of them has.

    `started` may say how else the gateway is to be started.
    """
    result = Result()
    with tempfile.TemporaryDirectory() as scratch, fault_upstream() as upstream:
        folder = Path(scratch)
        start = route_serve(folder, [fault_card("one", upstream.url, "ok"), fault_card("named", upstream.url, "ok")])
        entry = {"id": "only", "hash": hash_of(new_key())}
        (folder / "keys.yaml").write_text(yaml.safe_dump({"keys": [entry]}))
        with served(started(start)) as (_, server):
            asyncio.run(_send_all(numbers, seed, server.port, result))
        result.upstream_calls = len(upstream.seen)
        if upstream.seen:
            result.findings.append(Finding(f"{len(upstream.seen)} requests without a key reached the upstream"))
        result.add_log(folder / "serve.log")
    return result


async def _send_all(numbers: list[int], seed: int, port: int, result: Result) -> None:
    async def send(number: int) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                response = await _exchange(port, fuzz_head(seed, number))
        except TimeoutError:
            result.findings.append(Finding(f"a hang: no end within {_TIMEOUT_S:.0f} s", number))
            return
        statuses = [int(status) for status in _STATUS.findall(response)] or [0]
        result.statuses.update(statuses)
        result.findings += (
            Finding(f"status {status}", number) for status in statuses if status >= 500 and status not in _ALLOWED
        )

    await run_all(numbers, send, result)
    # The gateway must still work.
    if not (await _exchange(port, [_HEALTHY])).startswith(b"HTTP/1.1 200"):
        result.findings.append(Finding("the gateway no longer responds"))


async def _exchange(port: int, pieces: list[bytes]) -> bytes:
    """Everything that the gateway answers until it closes the connection; its sender writes no more after `pieces`."""
    chunks: list[bytes] = []
    # A gateway may close the connection in the middle of a head.
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                # Another read of the gateway for every piece.
                await asyncio.sleep(0)
            writer.write_eof()
            while chunk := await reader.read(1 << 16):
                chunks.append(chunk)
        finally:
            writer.transport.abort()
    return b"".join(chunks)
