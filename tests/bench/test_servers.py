from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from bench.servers import CONTENDERS, Contender, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")


def test_a_server_in_a_folder_on_pythonpath_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peer.py").write_text(
        "import http.server, sys\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    protocol_version = 'HTTP/1.1'\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        "def serve():\n"
        "    http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = "import bench.servers, peer; peer.serve()"
    with running(Contender("peer", "peer", lambda port: ["-c", command, str(port)])) as (process, _):
        assert process.poll() is None


def test_this_gateways_server_answers_on_its_exchange() -> None:
    with (
        running(CONTENDERS[0]) as (_, port),
        socket.create_connection(("127.0.0.1", port), 10) as connection,
    ):
        connection.sendall(
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        )
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"x-echo: connection,host,transfer-encoding" in head
    assert body.endswith(b"]}")
