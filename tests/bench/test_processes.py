from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.gateway.processes import Server, Start, StartError, free_port, running, tree

if not Path("/proc/self/stat").exists():
    pytest.skip("processes are read from /proc", allow_module_level=True)

# A server with a child process that uses CPU for the given seconds, then sleeps.
BUSY = """
import http.server, os, subprocess, sys
burn = "import time\\nwhile time.process_time() < float(%r): pass\\nopen('burnt', 'w').close()\\ntime.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", burn % sys.argv[2]])
open("child", "w").write(str(child.pid))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({"/ready": 200, "/sick": 503}.get(self.path, 404))
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 3:
    open(sys.argv[3], "w").write(str(server.server_port))
server.serve_forever()
"""


def busy(folder: Path, *ready: str, burn_s: float = 0.0, limit_s: float = 60.0) -> Start:
    port = free_port()
    return Start((sys.executable, "-c", BUSY, str(port), str(burn_s)), folder, port, ready, limit_s=limit_s)


def is_running(process: int) -> bool:
    """Whether a process has not ended; the init process may not have reaped an orphan that has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_cpu_and_memory_include_child_processes(tmp_path: Path) -> None:
    with running(busy(tmp_path, "/ready", burn_s=0.5), tmp_path / "log") as server:
        while not (tmp_path / "burnt").exists():
            time.sleep(0.01)
        child_process = Server(int((tmp_path / "child").read_text()), 0, 0.0)
        assert server.cpu_s() >= child_process.cpu_s() >= 0.4
        assert server.rss_mb() > child_process.rss_mb() > 1
        assert server.pss_mb() <= server.rss_mb()


def test_a_process_that_has_ended_has_no_descendants() -> None:
    ended = subprocess.Popen((sys.executable, "-c", ""))
    ended.wait()
    assert tree(ended.pid) == [ended.pid]


def test_children_end_with_the_server(tmp_path: Path) -> None:
    with running(busy(tmp_path, "/ready"), tmp_path / "log"):
        child = int((tmp_path / "child").read_text())
        os.kill(child, 0)
    while is_running(child):
        time.sleep(0.01)


def test_the_first_existing_path_decides_whether_the_server_is_ready(tmp_path: Path) -> None:
    with running(busy(tmp_path, "/unknown", "/ready", "/sick"), tmp_path / "log") as server:
        assert server.ready_s > 0
    with pytest.raises(StartError, match="not ready"), running(busy(tmp_path, "/sick", limit_s=1), tmp_path / "log"):
        pass


def test_a_server_may_choose_its_port(tmp_path: Path) -> None:
    file = tmp_path / "port"
    start = Start((sys.executable, "-c", BUSY, "0", "0", str(file)), tmp_path, file, ())
    with running(start, tmp_path / "log") as server:
        assert server.port == int(file.read_text())


def test_a_server_that_exits_is_reported_with_its_last_log_line(tmp_path: Path) -> None:
    start = Start((sys.executable, "-c", "raise SystemExit('no licence')"), tmp_path, free_port(), ())
    with pytest.raises(StartError, match="the server exited: no licence"), running(start, tmp_path / "log"):
        pass


def test_servers_get_no_proxy_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    script = "import os; raise SystemExit(' '.join(sorted(os.environ)))"
    start = Start((sys.executable, "-c", script), tmp_path, free_port(), (), {"MORE": "1"})
    with pytest.raises(StartError, match="MORE") as caught, running(start, tmp_path / "log"):
        pass
    assert "PROXY" not in str(caught.value)
    assert "OPENAI" not in str(caught.value)
