"""Real Redis servers on loopback, which tests kill, pause and start again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(
    COMMAND is None, reason="neither redis-server nor valkey-server is installed (scripts/system installs one)"
)


class RedisServer:
    """A server on a port of its own, without files unless `options` say so. Its socket is `folder`/redis.sock."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.port = folder, free_port()
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, again at the same port, and wait until it responds."""
        assert COMMAND is not None
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--daemonize", "no"]
        files = ["--save", "", "--unixsocket", str(self.folder / "redis.sock"), "--loglevel", "warning"]
        with (self.folder / f"redis-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen([COMMAND, *fixed, *files, *self._options], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self.responds():
            assert self.process.poll() is None, "redis-server did not start"
            assert time.monotonic() < deadline, "redis-server does not respond"
            time.sleep(0.01)

    def responds(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def command(self, *words: str) -> bytes:
        """The beginning of the answer to a command."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as client:
            parts = [f"*{len(words)}\r\n", *(f"${len(word.encode())}\r\n{word}\r\n" for word in words)]
            client.sendall("".join(parts).encode())
            return client.recv(65536)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A server of its own, which is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), *options)
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def redis_cluster() -> Iterator[tuple[RedisServer, ...]]:
    """A cluster of three primaries, without replicas."""
    with contextlib.ExitStack() as stack:
        servers = tuple(
            stack.enter_context(
                redis_server(
                    "--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--enable-debug-command", "yes"
                )
            )
            for _ in range(3)
        )
        slots = [(0, 5460), (5461, 10922), (10923, 16383)]
        for server, (first, last) in zip(servers, slots, strict=True):
            assert server.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)).startswith(b"+OK")
            assert server.command("CLUSTER", "MEET", "127.0.0.1", str(servers[0].port)).startswith(b"+OK")
        deadline = time.monotonic() + 20
        while not all(is_whole(server) for server in servers):
            assert time.monotonic() < deadline, "the cluster does not form"
            time.sleep(0.05)
        yield servers


def is_whole(server: RedisServer) -> bool:
    """Whether the server knows a cluster of three that serves all slots."""
    info = server.command("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


def with_prefix(url: str) -> str:
    """The URL with a prefix that no other test uses."""
    return f"{url}{'&' if '?' in url else '?'}prefix=test-{secrets.token_hex(6)}"


def free_port() -> int:
    """A free port below 55535: a cluster also uses the one that is 10,000 above."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port
