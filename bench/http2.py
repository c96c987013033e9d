"""HTTP/2 to model servers beside HTTP/1.1: `python -m bench.http2`.

nginx offers both protocols with TLS, in front of `bench.upstream`. This process is the client, so its CPU time is that
of a gateway's calls alone; it alternates between the protocols, round by round. A burst is what follows an idle time:
all its calls begin at once, without any connection.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import uvloop
from yarl import URL

from bench.clients import with_own
from bench.gateway.processes import Start, free_port, running
from bench.gateway.report import table
from router.dispatch.http1 import target_of
from router.dispatch.http2 import Client

_ROOT = Path(__file__).parents[1]
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "authorization": "Bearer none"}
_Call = Callable[[bytes], Awaitable[bytes]]
_AT_ONCE = 8
_BURST = 64


@contextlib.asynccontextmanager
async def httpx_client(url: str, authority: str, http2: bool) -> AsyncIterator[_Call]:
    """A call with httpx, whose HTTP/2 is that of h2, too."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    # httpx offers its protocols in the context that it is given.
    trust = ssl.create_default_context(cafile=authority)
    async with httpx.AsyncClient(
        limits=limits, timeout=60, trust_env=False, verify=trust, http1=not http2, http2=http2
    ) as client:

        async def call(body: bytes) -> bytes:
            async with client.stream("POST", url, content=body, headers=_HEADERS) as response:
                return b"".join([chunk async for chunk in response.aiter_raw()])

        yield call


@contextlib.contextmanager
def _nginx(port: int, folder: Path) -> Iterator[int]:
    """nginx in front of `port`, with the certificate cert.pem in `folder`: its port."""
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", "key.pem", "-out", "cert.pem")
    subprocess.run(["openssl", "req", "-x509", *new_key, *names, *files], cwd=folder, check=True, capture_output=True)
    public, config = free_port(), folder / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""
    folders = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off; {user}pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 4096; }}\n"
        f"http {{ access_log off; keepalive_requests 1000000; {folders}\n"
        f"upstream u {{ server 127.0.0.1:{port}; keepalive 64; }}\n"
        f"server {{ listen 127.0.0.1:{public} ssl http2; ssl_certificate {folder}/cert.pem;\n"
        f"ssl_certificate_key {folder}/key.pem; location / {{ proxy_pass http://u; proxy_http_version 1.1;\n"
        f'proxy_set_header connection ""; proxy_buffering off; }} }} }}\n'
    )
    start = Start(("nginx", "-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")), _ROOT, public, ())
    with running(start, folder / "nginx.log"):
        yield public


async def _measured(
    name: str,
    calls: int,
    at_once: int,
    stream: bool,
    opens: Callable[[], contextlib.AbstractAsyncContextManager[_Call]],
) -> float:
    """The CPU time of a call in ms, over open connections; without any where all calls begin at once."""
    body = json.dumps(
        {"model": "bench", "stream": stream, "messages": [{"role": "user", "content": "How much? " * 50}]}
    )
    expected = b"data: [DONE]" if stream else b'"choices"'

    async def run(call: _Call, count: int) -> None:
        for _ in range(count):
            if expected not in (response := await call(body.encode())):
                raise RuntimeError(f"{name}: unexpected response {response[:200]!r}")

    async with opens() as call:
        if at_once < calls:
            await asyncio.gather(*(run(call, 5) for _ in range(at_once)))
        start_s = time.process_time()
        await asyncio.gather(*(run(call, calls // at_once) for _ in range(at_once)))
        return (time.process_time() - start_s) * 1e3 / calls


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=800, help="calls a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    port = free_port()
    upstream = Start((sys.executable, "-m", "bench.upstream", "--port", str(port)), _ROOT, port, ("/health",))
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(upstream, Path(scratch) / "log"),
        _nginx(port, Path(scratch)) as public,
    ):
        url = f"https://127.0.0.1:{public}/v1/chat/completions"
        authority = f"{scratch}/cert.pem"
        trust, offer = (ssl.create_default_context(cafile=authority) for _ in range(2))
        offer.set_alpn_protocols(["h2", "http/1.1"])
        http1, http2 = target_of(URL(url), trust=trust), target_of(URL(url), trust=trust, http2_trust=offer)
        clients: dict[str, Callable[[], contextlib.AbstractAsyncContextManager[_Call]]] = {
            "HTTP/1.1": lambda: with_own(Client(), http1, connect_s=10),
            "HTTP/2": lambda: with_own(Client(), http2, connect_s=10),
            "HTTP/1.1, httpx": lambda: httpx_client(url, authority, False),
            "HTTP/2, httpx": lambda: httpx_client(url, authority, True),
        }
        cases = {
            f"JSON, {_AT_ONCE} at once": (options.calls, _AT_ONCE, False),
            "JSON, one at a time": (options.calls // 2, 1, False),
            f"streams of 20 events, {_AT_ONCE} at once": (options.calls // 2, _AT_ONCE, True),
            f"a burst of {_BURST}, no connection open": (_BURST, _BURST, False),
        }
        rows = [[name] for name in clients]
        for calls, at_once, stream in cases.values():
            found: dict[str, list[float]] = {name: [] for name in clients}
            for number in range(options.rounds):
                for name in list(clients)[:: -1 if number % 2 else 1]:
                    found[name].append(uvloop.run(_measured(name, calls, at_once, stream, clients[name])))
            for row, values in zip(rows, found.values(), strict=True):
                row.append(f"{statistics.median(values):.3f}")
        print(f"CPU ms a call, median of {options.rounds} rounds\n")
        print(table(["", *cases], rows))


if __name__ == "__main__":
    main()
