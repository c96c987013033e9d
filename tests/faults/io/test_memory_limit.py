"""A gateway that may not have more memory answers large bodies with errors, serves others beside them, and lives on."""

from __future__ import annotations

import resource
import threading
from pathlib import Path

import httpx
import pytest

from tests.faults.io.service import CLIENT_KEY, Service, prepared, serving
from tests.faults.upstream import Upstream

pytestmark = pytest.mark.slow
# Objects of 16 MB of JSON lists take several hundred.
_HEADROOM_BYTES = 150 * 2**20
_LISTS = b'{"model":"ok","messages":[{"role":"user","content":"hi"}],"x":[' + b"[]," * (4 * 10**6) + b"[]]}"


def limit_memory(service: Service) -> None:
    """Allow the process a little more address space than it has."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii").splitlines()
    (size,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize:"))
    resource.prlimit(service.process.pid, resource.RLIMIT_AS, (size + _HEADROOM_BYTES, resource.RLIM_INFINITY))


def test_bodies_that_do_not_fit_into_memory_are_refused_while_others_are_served(
    upstream: Upstream, tmp_path: Path, library: Path
) -> None:
    start, _ = prepared(tmp_path / "gateway", upstream, library)
    answers: list[httpx.Response] = []

    def send_large_bodies() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{start.port}", trust_env=False, timeout=60) as client:
            for _ in range(4):
                headers = {"authorization": f"Bearer {CLIENT_KEY}"}
                answers.append(client.post("/v1/chat/completions", content=_LISTS, headers=headers))

    with serving(start) as service:
        for number in range(4):
            # What the first requests allocate is used again.
            assert service.ask(stream=number % 2 == 1).status == 200
        limit_memory(service)
        hostile = threading.Thread(target=send_large_bodies)
        hostile.start()
        served = 0
        while hostile.is_alive():
            assert service.is_healthy()
            assert service.ask().status == 200
            served += 1
        hostile.join()
        assert served > 0
        assert [answer.status_code in (400, 413, 503) for answer in answers] == [True] * 4
        assert all("message" in answer.json()["error"] for answer in answers)
        assert service.ask().status == 200
        assert "Traceback" not in service.text()
