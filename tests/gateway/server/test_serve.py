from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from bench.gateway.processes import Process, Start, free_port, launched
from router.cards import Card
from router.cards.schema import to_plain
from router.errors import PassingError
from router.gateway.server.descriptors import raise_descriptor_limit
from router.gateway.server.listener import listen
from tests.dispatch.calls import unused_address
from tests.gateway.servers import Upstream, make_card, wait_for
from tests.warm_start import Warm

ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def serving(
    folder: Path, *cards: Card, options: tuple[str, ...] = (), prefix: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`route serve` in its own process, with cards in files: the process, and its URL once it responds.

    Nobody reads its output while it runs. `prefix` is in front of the command.
    """
    command, port = _command(folder, cards, options)
    command = (*prefix, *command)
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_responds(f"http://127.0.0.1:{port}", process)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def forked(warm: Warm, folder: Path, *cards: Card, options: tuple[str, ...] = ()) -> Iterator[tuple[Process, str]]:
    """The same as a fork, for tests of what happens after the start."""
    command, port = _command(folder, cards, options)
    with (folder / "log").open("wb") as log:
        process = launched(warm(Start(command, folder, port, ())), dict(os.environ), log)
    try:
        wait_until_it_responds(f"http://127.0.0.1:{port}", process)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _command(folder: Path, cards: tuple[Card, ...], options: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The command, whose cards it writes into files, and its port."""
    (folder / "cards").mkdir(exist_ok=True)
    for card in cards:
        (folder / "cards" / f"{card.id}.yaml").write_bytes(msgspec.yaml.encode(to_plain(card)))
    port = free_port()
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--cards", str(folder / "cards"), "--port", str(port)]
    command += ["--policies", str(ROOT / "policies"), "--store", str(folder / "store"), "--drain", "0", *options]
    return tuple(command), port


def wait_until_it_responds(url: str, process: Process) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
            return
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_port_in_use_may_become_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PassingError, match=f"127.0.0.1:{port}"):
            listen("127.0.0.1", port)


def test_connections_do_not_delay_small_events() -> None:
    async def main() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(accept, sock=listener):
            with socket.create_connection(listener.getsockname()):
                return await accepted

    assert asyncio.run(main()) != 0


def test_the_address_is_printed_once_it_listens(upstream: Upstream, tmp_path: Path) -> None:
    cards = make_card("a", upstream.url), make_card("b", unused_address())
    with serving(tmp_path, *cards) as (process, url):
        process.terminate()
        _, stderr = process.communicate(timeout=10)
    assert stderr.splitlines()[:2] == [
        "1 of 2 cards are available (`route doctor` shows what is missing)",
        f'Point a client at it: base_url="{url}/v1", model="auto"',
    ]


def test_the_command_imports_no_server_before_it_runs() -> None:
    code = "import sys, router.commands.serve; print(*{'starlette', 'uvicorn', 'httpx'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_running_response_is_completed_before_the_process_exits(
    upstream: Upstream, warm: Warm, tmp_path: Path, stop: signal.Signals
) -> None:
    with forked(warm, tmp_path, make_card("slow", upstream.url, "slow")) as (process, url):
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, trust_env=False) as answer:
            chunks = answer.iter_raw()
            next(chunks)
            os.kill(process.pid, stop)
            assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
        assert process.wait(5) in (0, -stop)


def test_readyz_responds_503_while_the_gateway_drains(upstream: Upstream, warm: Warm, tmp_path: Path) -> None:
    with forked(warm, tmp_path, make_card("slow", upstream.url, "slow"), options=("--drain", "3")) as (process, url):
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        os.kill(process.pid, signal.SIGTERM)
        assert wait_for(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 503)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(5) in (0, -signal.SIGINT)


def test_listening_beyond_this_machine_requires_keys(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "a.yaml").write_bytes(msgspec.yaml.encode(to_plain(make_card("a", upstream.url))))
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--host", "0.0.0.0", "--cards", "cards"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (3, "")
    assert "route keys add" in done.stderr


def test_several_workers_share_the_port_and_stop_together(upstream: Upstream, tmp_path: Path) -> None:
    with serving(tmp_path, make_card("a", upstream.url), options=("--workers", "2")) as (process, url):

        def children(pid: int) -> set[int]:
            listed = subprocess.run(
                ["pgrep", "-P", str(pid), "-f", "multiprocessing.forkserver"],
                capture_output=True,
                text=True,
                check=False,
            )
            return {int(line) for line in listed.stdout.split()}

        def workers() -> set[int]:
            """The children of the process from which workers are forked."""
            return {worker for forking in children(process.pid) for worker in children(forking)}

        before = workers()
        assert len(before) == 2
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
        answers = [httpx.post(f"{url}/v1/chat/completions", json=body, trust_env=False) for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200}
        process.terminate()
        assert process.wait(10) == 0
        assert wait_for(lambda: not workers())


def tried_twice(send: Callable[[], httpx.Response]) -> httpx.Response:
    """The response; a connection that is closed as a request is sent is a new one at the second try, as at clients."""
    try:
        return send()
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return send()


@pytest.mark.slow
def test_more_silent_connections_than_descriptors_keep_no_client_out(upstream: Upstream, tmp_path: Path) -> None:
    raise_descriptor_limit()
    few = ("sh", "-c", 'ulimit -n 1024; exec "$@"', "sh")
    body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
    with (
        serving(tmp_path, make_card("a", upstream.url), prefix=few) as (process, url),
        contextlib.ExitStack() as stack,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        port = httpx.URL(url).port
        for number in range(1100):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port or 0), 10))
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\n")
            if number % 100 == 99:
                assert tried_twice(lambda: client.post("/v1/chat/completions", json=body)).is_success
                assert tried_twice(lambda: httpx.get(f"{url}/healthz", trust_env=False)).is_success
        process.terminate()
        _, stderr = process.communicate(timeout=30)
    assert "only 1024 files may be open" in stderr
    assert "Too many open files" not in stderr


@pytest.mark.slow
def test_a_log_that_nobody_reads_never_delays_a_request(upstream: Upstream, tmp_path: Path) -> None:
    with serving(tmp_path, make_card("a", upstream.url)) as (_, url):
        port = httpx.URL(url).port
        for _ in range(3000):
            with socket.create_connection(("127.0.0.1", port or 0), 10) as connection:
                connection.sendall(b"\0garbage\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 400")
        # The access log fills its own pipe.
        with httpx.Client(base_url=url, trust_env=False) as client:
            for _ in range(400):
                assert client.post("/v1/chat/completions", json={"model": "none", "messages": []}).status_code < 500
            assert client.get("/healthz").is_success


@pytest.mark.parametrize("workers", ["1", "2"])
def test_conditions_that_may_pass_have_a_status_of_their_own(tmp_path: Path, workers: str) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "a.yaml").write_bytes(msgspec.yaml.encode(to_plain(make_card("a", unused_address()))))
    common = [sys.executable, str(ROOT / "cli.py"), "serve", "--cards", "cards", "--workers", workers]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        taken = subprocess.run([*common, "--port", port, "--store", "s"], cwd=tmp_path, check=False, timeout=60)
    (tmp_path / "file").write_text("not a folder")
    unusable = subprocess.run([*common, "--port", port, "--store", "file"], cwd=tmp_path, check=False, timeout=60)
    (tmp_path / "gateway.yaml").write_text("nonsense: 1\n")
    invalid = subprocess.run([*common, "--port", port, "--store", "s"], cwd=tmp_path, check=False, timeout=60)
    assert (taken.returncode, unusable.returncode, invalid.returncode) == (75, 75, 3)
