"""Replace three gateways behind a load balancer, under load: `python -m bench.rollout [--connections N]`.

HAProxy runs with `deploy/haproxy.cfg`. Clients send whole requests and streams, half of them on new connections, while
one gateway after another gets SIGTERM, drains, and is started anew on its port. The model server behind all of them
counts its requests. Exits with status 1 if a request failed, or if the model server saw another number of requests than
clients sent. Linux only; needs `haproxy`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec

from bench.gateway.processes import Server, Start, free_port, running
from bench.gateway.pulvinar import NAMED, contenders

_ROOT = Path(__file__).parents[1]
_BALANCER = _ROOT / "deploy" / "haproxy.cfg"
_CONNECTIONS, _GATEWAYS, _DRAIN_S, _PACE_MS = 16, 3, 2, 25
_TIMEOUT = aiohttp.ClientTimeout(total=60)
_BEFORE_AND_AFTER = 50


class Replacement(msgspec.Struct, frozen=True):
    """One gateway replaced: its exit status, how long it drained, how long its successor took until it was ready.

    The status of a process that a signal ended is the negative number of the signal.
    """

    exit_status: int
    drained_s: float
    started_s: float


class Outcome(msgspec.Struct, frozen=True):
    """A roll-out: requests that clients sent and that the model server got, and the problems of responses."""

    replacements: tuple[Replacement, ...]
    sent: int
    streams: int
    received: int
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every request was answered, and was carried out once."""
        # A gateway that has drained ends by the signal that it got, as servers do whose parent should know why.
        orderly = {one.exit_status for one in self.replacements} <= {0, -signal.SIGTERM}
        return orderly and not self.problems and self.sent == self.received


class Load:
    """Clients that send requests, one at a time on each connection, until they are stopped."""

    def __init__(self, url: str, model: str) -> None:
        self.sent = self.streams = 0
        self.problems: list[str] = []
        self._url, self._model, self._stopped = url, model, False

    def stop(self) -> None:
        """Let every client end after its current request."""
        self._stopped = True

    async def run(self, connections: int) -> None:
        """Send requests on so many connections."""
        await asyncio.gather(*(self._send_from(number) for number in range(connections)))

    async def _send_from(self, number: int) -> None:
        # Every second client opens a connection for each request, as command lines and short scripts do.
        connector = aiohttp.TCPConnector(limit=1, force_close=bool(number % 2))
        async with aiohttp.ClientSession(self._url, connector=connector, timeout=_TIMEOUT) as session:
            for turn in itertools.count():
                if self._stopped:
                    return
                stream = (number + turn) % 3 == 0
                self.sent += 1
                self.streams += stream
                try:
                    problem = await self._send_one(session, stream)
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    problem = repr(error)
                if problem:
                    self.problems.append(problem)

    async def _send_one(self, session: aiohttp.ClientSession, stream: bool) -> str:
        messages = [{"role": "user", "content": "Name three rivers of Europe."}]
        body = {"model": self._model, "messages": messages, "stream": stream}
        async with session.post("/v1/chat/completions", json=body) as response:
            content = await response.read()
        if response.status != 200:
            return f"status {response.status}: {content[:200]!r}"
        if stream and not content.rstrip().endswith(b"data: [DONE]"):
            return f"a stream ended early: {content[-100:]!r}"
        return ""


async def roll_out(scratch: Path, connections: int = _CONNECTIONS, replaced: int = _GATEWAYS) -> Outcome:
    """Start everything in `scratch`, replace `replaced` of the gateways, and stop everything."""
    with contextlib.ExitStack() as stack:
        upstream = free_port()
        command = (sys.executable, "-m", "bench.upstream", "--port", str(upstream))
        stack.enter_context(running(Start(command, _ROOT, upstream, ("/health",)), scratch / "upstream.log"))
        (named,) = (one for one in contenders(scratch, upstream, (), None) if one.name == NAMED)
        assert named.start is not None
        starts = [_gateway(named.start, scratch / f"gateway-{number}") for number in range(_GATEWAYS)]
        gateways = [_Gateway(start) for start in starts]
        for gateway in gateways:
            stack.callback(gateway.close)
        await asyncio.gather(*(asyncio.to_thread(gateway.start) for gateway in gateways))
        balancer = free_port()
        configuration = scratch / "haproxy.cfg"
        configuration.write_text(_filled(balancer, [start.port for start in starts]), encoding="utf-8")
        # Not in the background, and without a master process: it ends with SIGTERM.
        own = Start(("haproxy", "-db", "-f", str(configuration)), scratch, balancer, ("/readyz",))
        stack.enter_context(running(own, scratch / "haproxy.log"))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{upstream}", timeout=_TIMEOUT) as session:
            await session.post("/bench/pace", data=str(_PACE_MS))
            before = await _chats(session)
            load = Load(f"http://127.0.0.1:{balancer}", named.model)
            clients = asyncio.create_task(load.run(connections))
            replacements = []
            await _until_sent(load, _BEFORE_AND_AFTER)
            for gateway in gateways[:replaced]:
                replacements.append(await asyncio.to_thread(gateway.replace))
                # The successor takes its share before the next one goes.
                await _until_sent(load, load.sent + _BEFORE_AND_AFTER)
            load.stop()
            await clients
            received = await _chats(session) - before
    return Outcome(tuple(replacements), load.sent, load.streams, received, tuple(load.problems))


class _Gateway:
    """A gateway that can be replaced by a new process on the same port."""

    def __init__(self, start: Start) -> None:
        self._start, self._stack = start, contextlib.ExitStack()
        self._server: Server | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._server = self._stack.enter_context(running(self._start, self._start.folder / "serve.log"))

    def replace(self) -> Replacement:
        """Send SIGTERM, wait until the process has ended by itself, and start its successor."""
        assert self._server is not None
        before = time.perf_counter()
        os.kill(self._server.pid, signal.SIGTERM)
        # The exit status is read without taking it from the process's owner.
        ended = os.waitid(os.P_PID, self._server.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        drained = time.perf_counter()
        self.close()
        self.start()
        return Replacement(status, drained - before, time.perf_counter() - drained)

    def close(self) -> None:
        """End it, if it runs."""
        self._stack.close()


def _gateway(start: Start, folder: Path) -> Start:
    """The same gateway with a port and a folder of its own."""
    folder.mkdir()
    port = free_port()
    command = list(start.command)
    command[command.index("--port") + 1] = str(port)
    own = {"PULVINAR_STORE": str(folder / "store"), "PULVINAR_CACHE": str(folder / "cache")}
    command += ["--drain", str(_DRAIN_S)]
    return msgspec.structs.replace(
        start, command=tuple(command), folder=folder, port=port, environment=start.environment | own
    )


def _filled(port: int, gateways: list[int | Path]) -> str:
    """The balancer's configuration with these ports in place of its own."""
    text = _BALANCER.read_text(encoding="utf-8")
    ports = iter((port, *gateways))
    return re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", text)


async def _chats(session: aiohttp.ClientSession) -> int:
    async with session.get("/bench/chats") as response:
        return int(await response.text())


async def _until_sent(load: Load, count: int) -> None:
    while load.sent < count and not load.problems:
        await asyncio.sleep(0.01)


def main() -> int:
    """Print what happened; 1 if a request failed or was carried out twice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--connections", type=int, default=_CONNECTIONS)
    parser.add_argument("--replaced", type=int, default=_GATEWAYS, choices=range(1, _GATEWAYS + 1))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outcome = asyncio.run(roll_out(Path(scratch), options.connections, options.replaced))
    for number, one in enumerate(outcome.replacements, 1):
        print(
            f"gateway {number}: ended with status {one.exit_status} after {one.drained_s:.1f} s of draining, "
            f"its successor was ready after {one.started_s:.1f} s"
        )
    print(f"{outcome.sent} requests sent, {outcome.streams} of them streams; the model server got {outcome.received}")
    print(f"{len(outcome.problems)} failed", *outcome.problems[:10], sep="\n  ")
    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
