"""A gateway whose shared state cannot be written, in its own process."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import pytest

from bench.gateway.processes import Start
from router.gateway.config.keys import hash_of
from tests.faults.gateways import KEY_VARIABLE
from tests.faults.process import route_serve, served
from tests.gateway.servers import Upstream, make_card, wait_for

LIMITED, PLAIN = "pv-limited", "pv-plain"
BODY = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def url(upstream: Upstream, warm: Callable[[Start], Start], tmp_path: Path) -> Iterator[str]:
    keys = [{"id": "limited", "hash": hash_of(LIMITED), "rpm": 1000}, {"id": "plain", "hash": hash_of(PLAIN)}]
    (tmp_path / "keys.yaml").write_bytes(msgspec.yaml.encode({"keys": keys}))
    with served(warm(route_serve(tmp_path, [make_card("a", upstream.url, api_key_env=KEY_VARIABLE)]))) as (url, _):
        yield url


def chat(url: str, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/chat/completions", json=BODY, headers=headers, trust_env=False, timeout=30)


def is_ready(url: str) -> bool:
    return httpx.get(f"{url}/readyz", trust_env=False, timeout=30).status_code == 200


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    database = sqlite3.connect(folder / "store" / "state.sqlite", isolation_level=None)
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_while_the_state_is_locked_keys_without_limits_are_served_and_the_others_get_503(
    url: str, tmp_path: Path
) -> None:
    assert chat(url, LIMITED).status_code == 200
    with locked(tmp_path), ThreadPoolExecutor(20) as pool:
        started_s = time.monotonic()
        limited = [pool.submit(chat, url, LIMITED) for _ in range(10)]
        plain = [pool.submit(chat, url, PLAIN) for _ in range(10)]
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=30).status_code == 200
        assert [each.result().status_code for each in plain] == [200] * 10
        # They are answered together, though nothing has changed: not one after the other.
        answers = [each.result() for each in limited]
        assert time.monotonic() - started_s < 15
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["error"]["code"] for answer in answers} == {"state_unavailable"}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert wait_for(lambda: not is_ready(url), 10)
    assert wait_for(lambda: is_ready(url), 10)
    assert wait_for(lambda: chat(url, LIMITED).status_code == 200, 10)


def test_readyz_says_why_only_to_clients_with_a_key(url: str, tmp_path: Path) -> None:
    with locked(tmp_path):
        assert wait_for(lambda: not is_ready(url), 10)
        for headers in ({}, {"authorization": "Bearer pv-wrong"}):
            answer = httpx.get(f"{url}/readyz", headers=headers, trust_env=False)
            assert answer.json() in ({"ready": False}, {"ready": True})
        shown = httpx.get(f"{url}/readyz", headers={"authorization": f"Bearer {PLAIN}"}, trust_env=False).json()
        assert shown["cards"] == {"callable": 1, "all": 1}
        assert shown["limits_problem"] is None or "locked" in shown["limits_problem"]
