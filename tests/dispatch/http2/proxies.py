"""HAProxy and nginx, which offer HTTP/2 in front of a server of HTTP/1.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.servers import wait_for

NEEDS_HAPROXY = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs HAProxy (scripts/system)")
NEEDS_NGINX = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx (scripts/system)")


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@contextlib.contextmanager
def haproxy(port: int, certificates: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """HAProxy in front of `port`: its URL with TLS and HTTP/2, and its URL for HTTP/2 without TLS."""
    secure, plain = free_port(), free_port()
    both = folder / "both.pem"
    both.write_text((certificates / "server.pem").read_text() + (certificates / "server.key").read_text())
    config = folder / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  retries 0\n"
        f"frontend f\n  bind 127.0.0.1:{secure} ssl crt {both} alpn h2,http/1.1\n"
        f"  bind 127.0.0.1:{plain} proto h2\n  http-request set-header x-http %[fc_http_major]\n  default_backend b\n"
        # A client that leaves ends the call behind it.
        f"backend b\n  option abortonclose\n  http-reuse never\n  server s 127.0.0.1:{port}\n"
    )
    with _running(["haproxy", "-db", "-f", str(config)], secure):
        yield f"https://127.0.0.1:{secure}", f"http://127.0.0.1:{plain}"


@contextlib.contextmanager
def nginx(port: int, certificates: Path, folder: Path, requests: int = 1000) -> Iterator[str]:
    """nginx in front of `port`, with TLS and HTTP/2; a connection ends by GOAWAY after so many `requests`."""
    public = free_port()
    config = folder / "nginx.conf"
    # Its workers give up the rights of root otherwise, and cannot write here.
    user = "user root; " if os.geteuid() == 0 else ""
    config.write_text(
        f"daemon off; {user}pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; keepalive_requests {requests}; client_max_body_size 64m;\n"
        + "".join(
            f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen 127.0.0.1:{public} ssl http2;\n"
        f"ssl_certificate {certificates}/server.pem; ssl_certificate_key {certificates}/server.key;\n"
        f"location / {{ proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1; proxy_buffering off; }} }} }}\n"
    )
    with _running(["nginx", "-c", str(config), "-p", str(folder), "-e", str(folder / "error.log")], public):
        yield f"https://127.0.0.1:{public}"


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def accepts() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        assert process.poll() is None
        return False

    try:
        assert wait_for(accepts, 10)
        yield
    finally:
        process.terminate()
        process.wait(10)
