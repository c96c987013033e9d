from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from router.dispatch import Dispatcher
from router.errors import ConfigurationError
from router.gateway.app import make_app
from router.gateway.serve import listen, run
from tests.gateway.servers import Upstream, make_card, make_router

SCRIPT = """
import sys
from router.gateway.serve import serve
from tests.gateway.servers import make_card, make_router
serve(make_router(make_card("slow", sys.argv[1], "slow")), "127.0.0.1", int(sys.argv[2]))
"""
ANNOUNCED = """
import os, sys, urllib.request
import router.gateway.serve as gateway
from tests.gateway.servers import make_card, make_router
looks = []
gateway.unavailable_cards = lambda cards: looks.append(1) or {"b": "down"}
def tell(line):
    print(line, len(looks), flush=True)
    if line.startswith("Point"):
        # The event loop is busy with this very call, so only what listens already takes the connection.
        import socket
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2).close()
        print("listens", flush=True)
        os._exit(0)
cards = [make_card(name, "http://127.0.0.1:1") for name in "ab"]
gateway.serve(make_router(*cards), "127.0.0.1", int(sys.argv[1]), tell=tell)
"""


def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    app = make_app(make_router(make_card("a", "http://127.0.0.1:1")), Dispatcher())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            run(app, "127.0.0.1", port)


def test_connections_do_not_hold_small_events_back() -> None:
    async def main() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(meet, sock=listener):
            with socket.create_connection(listener.getsockname()):
                return await accepted

    assert asyncio.run(main()) != 0


def test_the_address_is_announced_once_it_listens_with_the_findings_of_the_only_look() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", ANNOUNCED, str(port)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout.splitlines() == [
        "1 of 2 cards can be called now (`route doctor` says why) 1",
        f'Point a client at it: base_url="http://127.0.0.1:{port}/v1", model="auto" 1',
        "listens",
    ], done.stderr


def test_the_command_imports_no_server_before_it_runs() -> None:
    code = "import sys, router.commands.serve; print(*{'starlette', 'uvicorn', 'httpx'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_an_answer_that_runs_ends_before_the_process_does(upstream: Upstream, stop: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, upstream.url, str(port)], env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until_it_answers(client)
            body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
            with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                chunks = answer.iter_raw()
                next(chunks)
                process.send_signal(stop)
                assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
        assert process.wait(5) in (0, -stop)
    finally:
        process.kill()
        process.wait()


def wait_until_it_answers(client: httpx.Client) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            client.get("/healthz").raise_for_status()
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
