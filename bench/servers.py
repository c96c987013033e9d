"""Which HTTP server: CPU of a request, and what clients without a key can do to it. Peers run where installed.

`python -m bench.servers [--requests N] [--json]` starts each server with one worker and the same small application on a
loopback port, measures CPU by `/proc` (so it needs Linux), and tries each attack on a fresh process. This gateway's is
the server that `route serve` runs. Peers may be in a folder on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

_ROOT = Path(__file__).parents[1]
_REQUEST_BODY = b'{"model":"auto","messages":[{"role":"user","content":"' + b"word " * 100 + b'"}]}'
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer pv-key\r\naccept: */*\r\n"
    b"accept-encoding: gzip\r\nuser-agent: openai-python\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_REQUEST_BODY), _REQUEST_BODY)
)
_ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"' + b"word " * 100 + b'"}}]}'
_CLOSED_WITHIN_S = 35.0
_CONNECTIONS, _DESCRIPTORS = 1100, 1024
_FLOOD_BYTES = 24_000_000
_GARBAGE = 3000
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and answer; `x-echo` says which headers arrived."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    names = b",".join(sorted({name for name, _ in scope["headers"]}))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER)), (b"x-echo", names)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


def exchange_app() -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The same on the server's exchange, as this gateway answers requests for a model."""
    # Not in the processes of peers.
    from router.gateway.http.client.exchange import exchange_of

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        if exchange.whole_body() is None:
            while (await receive()).get("more_body"):
                pass
        names = ",".join(sorted(exchange.headers))
        headers = {"content-type": "application/json", "content-length": str(len(_ANSWER)), "x-echo": names}
        await exchange.respond(200, headers, _ANSWER)

    return answer


_OWN = """
import sys
from bench.servers import exchange_app
from router.gateway.server.connections import Connections
from router.gateway.server.descriptors import client_connections, raise_descriptor_limit
from router.gateway.server.listener import listen
from router.gateway.server.server import run
from router.gateway.telemetry.error_log import Writers
with Writers().installed():
    run(exchange_app(), listen("127.0.0.1", int(sys.argv[1])),
        connections=Connections(capacity=client_connections(raise_descriptor_limit())))
"""
_UVICORN = "import sys, uvicorn; from bench.servers import app; "
_UVICORN += "uvicorn.run(app, port=int(sys.argv[1]), http=sys.argv[2], access_log=False, log_level='warning')"


class Contender(msgspec.Struct, frozen=True):
    """A server: its name, the package that it needs, and its command for a port."""

    name: str
    package: str
    command: Callable[[int], list[str]]


CONTENDERS = (
    Contender("this gateway's", "router", lambda port: ["-c", _OWN, str(port)]),
    Contender("uvicorn, httptools", "httptools", lambda port: ["-c", _UVICORN, str(port), "httptools"]),
    Contender("uvicorn, h11", "h11", lambda port: ["-c", _UVICORN, str(port), "h11"]),
    Contender(
        "granian",
        "granian",
        lambda port: ["-m", "granian", "--interface", "asgi", "--port", str(port), "bench.servers:app"],
    ),
    Contender(
        "hypercorn",
        "hypercorn",
        lambda port: ["-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "-k", "uvloop", "bench.servers:app"],
    ),
)


class Row(msgspec.Struct):
    """The results of one server. Sizes in MiB; None where it does not happen at all."""

    name: str
    cpu_us: float = 0.0
    headers_mib: float = 0.0
    silent_s: float | None = None
    half_head_s: float | None = None
    served_beside: str = ""
    trailer_is_header: bool = False
    unread_log_ms: float | None = None
    half_closed: bool = False


@contextlib.contextmanager
def running(contender: Contender, **popen: Any) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server's process and port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, *contender.command(port)]
    process = subprocess.Popen(command, cwd=_ROOT, env=environment, **{**quiet, **popen})
    try:
        deadline = time.monotonic() + 60
        while _answer(port, 1.0) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{contender.name} does not start")
            time.sleep(0.1)
        yield process, port
    finally:
        for pid in (*_children(process.pid), process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()


def measure(contender: Contender, requests: int) -> Row:
    """Every column of one server."""
    row = Row(contender.name)
    with running(contender) as (process, port):
        _cpu_us(process.pid, port, requests // 5)
        row.cpu_us = statistics.median(_cpu_us(process.pid, port, requests) for _ in range(3))
    with running(contender) as (process, port):
        before = _memory_mib(process.pid)
        row.headers_mib = _flood(process.pid, port) - before
    with running(contender) as (_, port):
        row.trailer_is_header = _trailer(port)
        row.half_closed = _half_closed(port)
        row.silent_s, row.half_head_s = _time_to_close(port)
    row.served_beside = _crowd(contender)
    row.unread_log_ms = _garbage(contender)
    return row


def _cpu_us(pid: int, port: int, requests: int) -> float:
    """Microseconds of CPU per request, on one kept connection."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        before = _cpu_s(pid)
        for _ in range(requests):
            connection.sendall(_REQUEST)
            received = b""
            while not received.endswith(b"]}"):
                received += connection.recv(65536)
        return (_cpu_s(pid) - before) / requests * 1e6


def _flood(pid: int, port: int) -> float:
    """The highest memory while headers without end are sent."""
    highest = 0.0
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        piece = b"x-a: a\r\n" * 20_000
        with contextlib.suppress(OSError):
            for _ in range(_FLOOD_BYTES // len(piece)):
                connection.sendall(piece)
                highest = max(highest, _memory_mib(pid))
        time.sleep(0.5)
        return max(highest, _memory_mib(pid))


def _trailer(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nauthorization: Bearer a\r\n\r\n"
        )
        return b"authorization" in _read_all(connection).partition(b"\r\n\r\n")[0]


def _half_closed(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        return b" 200" in _read_all(connection)


def _time_to_close(port: int) -> tuple[float | None, float | None]:
    """Seconds until a connection with nothing, and one with half a head, are closed."""
    silent, half = (socket.create_connection(("127.0.0.1", port), 10) for _ in range(2))
    half.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n")
    started = time.monotonic()
    closed: dict[socket.socket, float] = {}
    with silent, half:
        while len(closed) < 2 and (left := started + _CLOSED_WITHIN_S - time.monotonic()) > 0:
            for connection in select.select([one for one in (silent, half) if one not in closed], [], [], left)[0]:
                if not connection.recv(4096):
                    closed[connection] = round(time.monotonic() - started, 1)
    return closed.get(silent), closed.get(half)


def _crowd(contender: Contender) -> str:
    """How many of 50 honest requests are served beside many silent connections, with few descriptors."""
    import resource

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    with running(contender, preexec_fn=few) as (_, port), contextlib.ExitStack() as stack:
        for _ in range(_CONNECTIONS):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 1))
        return f"{sum(_answer(port, 0.5) is not None for _ in range(50))} of 50"


def _garbage(contender: Contender) -> float | None:
    """Milliseconds of an honest request after garbage, where nobody reads the log; None where it is not answered."""
    reader, writer = os.pipe()
    try:
        with running(contender, stdout=writer, stderr=writer) as (_, port):
            for _ in range(_GARBAGE):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
                    connection.settimeout(0.5)
                    connection.sendall(b"\0garbage\r\n\r\n")
                    if _answer_is_late(connection):
                        break
            elapsed_s = _answer(port, 5.0)
            return None if elapsed_s is None else round(elapsed_s * 1000, 1)
    finally:
        os.close(reader)
        os.close(writer)


def _answer_is_late(connection: socket.socket) -> bool:
    try:
        connection.recv(4096)
    except TimeoutError:
        return True
    return False


def _answer(port: int, timeout_s: float) -> float | None:
    """Seconds of one request on a new connection; None where it fails."""
    started = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            return time.monotonic() - started if connection.recv(12) == b"HTTP/1.1 200" else None
    except OSError:
        return None


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    connection.settimeout(3)
    with contextlib.suppress(OSError):
        while piece := connection.recv(65536):
            received += piece
    return received


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [each for child in children for each in (*_children(int(child)), int(child))]
    return []


def _cpu_s(pid: int) -> float:
    total = 0.0
    for each in (pid, *_children(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def _memory_mib(pid: int) -> float:
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (pid, *_children(pid)))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(rows: list[Row]) -> str:
    """The rows as Markdown. CPU is a ratio to plain uvicorn with httptools."""
    base = next((row.cpu_us for row in rows if row.name == "uvicorn, httptools"), rows[0].cpu_us)
    lines = [
        "| server | CPU of a request | 24 MB of headers | silent closed | half a head closed "
        "| served beside 1,100 silent | trailer is a header | after garbage, log unread | half-closed answered |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        never = f"not in {_CLOSED_WITHIN_S:.0f} s"
        silent, half = (never if at is None else f"{at:.0f} s" for at in (row.silent_s, row.half_head_s))
        late = "no answer" if row.unread_log_ms is None else f"{row.unread_log_ms:.0f} ms"
        lines.append(
            f"| {row.name} | {row.cpu_us:.0f} µs ({row.cpu_us / base:.2f}) | +{row.headers_mib:.0f} MiB | {silent} "
            f"| {half} | {row.served_beside} | {'yes' if row.trailer_is_header else 'no'} | {late} "
            f"| {'yes' if row.half_closed else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every installed server and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for contender in CONTENDERS:
        if importlib.util.find_spec(contender.package) is None:
            print(f"{contender.name}: not installed", file=sys.stderr)
            continue
        rows.append(measure(contender, options.requests))
        print(rows[-1], file=sys.stderr, flush=True)
    print(json.dumps(msgspec.to_builtins(rows), indent=1) if options.json else table(rows))


if __name__ == "__main__":
    main()
