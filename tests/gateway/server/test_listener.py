"""Listening on IPv6 and on a unix socket, by real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from bench.gateway.processes import Start, launched
from router.cards.schema import to_plain
from router.errors import ConfigurationError, PassingError
from router.gateway.server.listener import listen, listen_at, shown, without_brackets
from tests.gateway.servers import Upstream, make_card
from tests.warm_start import Warm

ROOT = Path(__file__).parents[3]
BODY = {"model": "a", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="pv-"))
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def serving(warm: Warm, folder: Path, upstream: Upstream, client: httpx.Client, *options: str) -> Iterator[None]:
    (folder / "cards").mkdir()
    (folder / "cards" / "a.yaml").write_bytes(msgspec.yaml.encode(to_plain(make_card("a", upstream.url))))
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--cards", f"{folder / 'cards'}", "--drain", "0"]
    command += ["--store", str(folder / "store"), "--policies", str(ROOT / "policies"), *options]
    # It is asked at the address that is tested, and not at a port.
    start = Start(tuple(command), folder, port=0, ready=())
    with (folder / "log").open("wb") as log:
        process = launched(warm(start), dict(os.environ), log)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                client.get("/healthz").raise_for_status()
                break
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        process.wait(30)


# httpx leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_is_served_and_removed_at_the_end(
    folder: Path, warm: Warm, upstream: Upstream, workers: str
) -> None:
    path = folder / "gateway.sock"
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://localhost") as client:
        with serving(warm, folder, upstream, client, "--uds", str(path), "--workers", workers):
            answer = client.post("/v1/chat/completions", json=BODY)
            assert answer.text.endswith("data: [DONE]\n\n")
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert not path.exists()
    # Another worker may have responded before the one that prints.
    assert workers == "2" or str(path) in (folder / "log").read_text()


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_ipv6_address_is_served(folder: Path, warm: Warm, upstream: Upstream, workers: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        port = probe.getsockname()[1]
    options = ("--host", "[::1]", "--port", str(port), "--workers", workers)
    with (
        httpx.Client(base_url=f"http://[::1]:{port}", trust_env=False) as client,
        serving(warm, folder, upstream, client, *options),
    ):
        assert client.post("/v1/chat/completions", json=BODY).is_success
    assert workers == "2" or f"http://[::1]:{port}/v1" in (folder / "log").read_text()


def test_an_address_may_have_brackets() -> None:
    assert (without_brackets("[::1]"), without_brackets("::1"), without_brackets("a")) == ("::1", "::1", "a")
    assert (shown("::1"), shown("127.0.0.1")) == ("[::1]", "127.0.0.1")


def test_a_socket_that_no_process_listens_on_is_replaced(folder: Path) -> None:
    path = folder / "s"
    listen_at(path).close()
    with listen_at(path) as listener:
        listener.listen()
        with pytest.raises(PassingError, match="another process listens"):
            listen_at(path)


def test_a_file_is_never_replaced(folder: Path) -> None:
    (folder / "s").write_text("precious")
    with pytest.raises(ConfigurationError, match="is not a socket"):
        listen_at(folder / "s")
    assert (folder / "s").read_text() == "precious"


def test_an_impossible_path_or_address_is_a_configuration_error(folder: Path) -> None:
    for path in (folder / "none" / "s", folder / ("x" * 200)):
        with pytest.raises(ConfigurationError, match="cannot listen on the unix socket"):
            listen_at(path)


def test_an_address_that_is_not_there_yet_may_come() -> None:
    with pytest.raises(PassingError, match=r"cannot listen on \[2001:db8::1\]:1"):
        listen("2001:db8::1", 1)


def test_the_system_keeps_little_for_a_client_that_does_not_read() -> None:
    with listen("127.0.0.1", 0) as listener, socket.socket() as client:
        listener.listen()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 2**23:
                    sent += connection.send(bytes(2**16))
    assert sent <= 2**20
