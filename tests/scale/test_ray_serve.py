"""`deploy/ray_serve.py` on a real cluster: two replicas of the gateway behind Ray Serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from starlette.applications import Starlette

from router.errors import ConfigurationError
from router.gateway.server.serve import ServeOptions
from tests.gateway.servers import Upstream, upstream_server
from tests.scale.conftest import ROOT, ray_environment

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

_SLOWER_S = 60.0
# Ray needs seconds to start a replica, and is faster where nothing else keeps the cores busy.
_POLL_S = 0.1


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstream_server() as server:
        yield server


@pytest.fixture(scope="module")
def arguments(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of an application with the cards `ok` and `slow`."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "cards").mkdir()
    for name in ("ok", "slow"):
        card = {"id": name, "kind": "model", "provider": "hosted_vllm", "model": name, "base_url": f"{upstream.url}/v1"}
        (folder / "cards" / f"{name}.yaml").write_text(yaml.safe_dump(card))
    (folder / "keys.yaml").write_text("keys: []\n")
    (folder / "gateway.yaml").write_text("{}\n")
    named = {"cards": "cards", "keys": "keys.yaml", "gateway": "gateway.yaml", "store": "store"}
    return ["unkeyed=yes", "replicas=2", "cpus=1", *(f"{name}={folder / file}" for name, file in named.items())]


@pytest.fixture(scope="module")
def serving(cluster: str, shadow: Path, arguments: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of two replicas, and the process that deploys them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    code = "from tests.scale.serving import main; main()"
    log = (shadow / "serve.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-c", code, cluster, str(port), *arguments],
        env=ray_environment(shadow),
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        _deployed(process, shadow / "serve.log")
        yield f"http://127.0.0.1:{port}", process
    finally:
        try:
            process.communicate(timeout=_SLOWER_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


@pytest.fixture
def url(serving: tuple[str, subprocess.Popen[str]]) -> str:
    """The address of two replicas."""
    return serving[0]


def _deployed(process: subprocess.Popen[str], log: Path) -> None:
    """Wait until the replicas run."""
    assert process.stdout is not None
    while "deployed" not in (line := process.stdout.readline()):
        if not line:
            pytest.fail(f"Ray Serve does not start: {log.read_text()[-3000:]}")


def _status(url: str, path: str = "/readyz") -> int | None:
    try:
        return httpx.get(url + path, timeout=5, trust_env=False).status_code
    except httpx.TransportError:
        return None


def _ask(url: str, model: str, **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    # Otherwise httpx reads all certificates of the machine for every request.
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=_SLOWER_S, trust_env=False)


def test_a_completion_is_answered_and_recorded(url: str, arguments: list[str]) -> None:
    answer = _ask(url, "ok")
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"
    assert answer.headers["x-route-card"] == "ok"
    store = Path(arguments[-1].partition("=")[2])
    assert any(store.iterdir())


def test_a_stream_arrives_event_by_event(url: str) -> None:
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    arrived = []
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=_SLOWER_S, trust_env=False) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data:"):
                arrived.append((time.monotonic(), line))
    assert arrived[-1][1] == "data: [DONE]"
    # The upstream waits half a second after the first event; were the stream collected first, all would come at once.
    assert arrived[-1][0] - arrived[0][0] > 0.2


def test_errors_and_health_are_those_of_the_gateway(url: str) -> None:
    assert _status(url, "/healthz") == 200
    assert _status(url, "/-/healthz") == 200
    assert httpx.get(f"{url}/readyz").json()["ready"] is True
    refused = _ask(url, "nobody")
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == "model_not_found"


def test_requests_reach_both_replicas(url: str, arguments: list[str]) -> None:
    replicas = _replicas(url)
    assert len(replicas) == 2


def test_a_killed_replica_is_replaced_and_the_other_answers(url: str) -> None:
    victim = next(iter(_replicas(url)))
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 2 * _SLOWER_S
    answers = []
    while time.monotonic() < deadline:
        answers.append(_ask(url, "ok").status_code)
        if len(alive := _replicas(url)) == 2 and victim not in alive:
            break
        time.sleep(_POLL_S)
    assert len(_replicas(url)) == 2
    assert answers[-1] == 200


def test_a_replica_that_is_replaced_completes_its_stream(
    serving: tuple[str, subprocess.Popen[str]], shadow: Path
) -> None:
    """Deploying the application again replaces the replicas, here by one, under a stream that has begun."""
    url, process = serving
    lines: list[str] = []
    begun = threading.Event()

    def read() -> None:
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=body, timeout=_SLOWER_S, trust_env=False
        ) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                begun.set()

    before = _replicas(url)
    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(_SLOWER_S)
    assert process.stdin is not None
    process.stdin.write("replicas=1\n")
    process.stdin.flush()
    _deployed(process, shadow / "serve.log")
    reader.join(_SLOWER_S)
    assert "data: [DONE]" in lines
    after = _replicas(url)
    assert not before & after, "an old replica is left"
    assert len(after) == 1
    assert _ask(url, "ok").status_code == 200


def _replicas(_: str) -> set[int]:
    """The process ids of the replicas."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::ServeReplica:default:gateway"):
                found.add(int(folder.name))
    return found


def test_without_keys_nothing_is_served_by_accident(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from deploy.ray_serve import application

    (tmp_path / "keys.yaml").write_text("keys: []\n")
    with pytest.raises(ConfigurationError, match="unkeyed=yes"):
        application({"keys": str(tmp_path / "keys.yaml")})


@pytest.mark.parametrize(("argument", "problem"), [("replica", "replicas"), ("replicas", "a number from 1")])
def test_a_wrong_argument_is_named(argument: str, problem: str) -> None:
    pytest.importorskip("ray")
    from deploy.ray_serve import application

    with pytest.raises(ConfigurationError, match=problem):
        application({argument: "none", "unkeyed": "yes"})


def test_the_application_is_described_as_it_is(arguments: list[str]) -> None:
    from deploy import ray_serve

    documented = (ROOT / "docs" / "scale.md").read_text()
    assert all(f"`{name}`" in documented for name in ray_serve._ARGUMENTS), json.dumps(ray_serve._ARGUMENTS)


@pytest.mark.parametrize(("state", "workers"), [(None, 2), ("redis://127.0.0.1:9/0", 1)])
def test_a_replica_is_one_of_the_processes_that_share_a_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None, workers: int
) -> None:
    pytest.importorskip("ray")
    from deploy import ray_serve

    seen: list[ServeOptions] = []

    def note(options: ServeOptions) -> Callable[[], Starlette]:
        seen.append(options)
        return Starlette

    monkeypatch.setattr(ray_serve, "_builder", note)
    (tmp_path / "keys.yaml").write_text("keys: []\n")
    stated = {} if state is None else {"state": state}
    ray_serve.application({"keys": str(tmp_path / "keys.yaml"), "unkeyed": "yes", **stated})
    # Limits are divided by `replicas` times this number where the state is lost.
    assert [options.workers for options in seen] == [workers]
