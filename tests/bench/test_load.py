from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bench.gateway.contender import CHAT
from bench.gateway.samples import Load, Samples, run_load
from bench.upstream import EVENTS
from tests.bench.conftest import BenchUpstream


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    file = tmp_path / "prompts"
    file.write_text("".join(f"{json.dumps(f'prompt {number}')}\n" for number in range(50)))
    return str(file)


def samples_of(state: BenchUpstream, prompts: str, **fields: Any) -> Samples:
    return run_load(Load(state.port, CHAT, {}, "bench", prompts, 0, **({"count": 20} | fields)))


@pytest.mark.parametrize("rate", [None, 200.0])
def test_every_request_is_sent_once_and_answered(upstream: BenchUpstream, prompts: str, rate: float | None) -> None:
    samples = samples_of(upstream, prompts, rate=rate)
    assert (samples.sent, samples.answered, samples.failed, upstream.chats) == (20, 20, 0, 20)
    assert not samples.overrun


@pytest.mark.parametrize("pace_ms", [0, 2])
def test_every_event_of_a_stream_is_timed(upstream: BenchUpstream, prompts: str, pace_ms: int) -> None:
    upstream.pace_s = pace_ms / 1e3
    samples = samples_of(upstream, prompts, stream=True)
    assert (samples.answered, len(samples.first_ms), len(samples.held_ms)) == (20, 20, 20 * EVENTS)
    assert min(samples.latency_ms) >= pace_ms * EVENTS
    assert min(samples.held_ms) >= 0


def test_the_latency_of_an_open_loop_includes_the_wait_for_a_blocked_upstream(
    upstream: BenchUpstream, prompts: str
) -> None:
    delays = iter([0.3])
    read = upstream.read_chat

    def slow(body: bytes) -> Any:
        time.sleep(next(delays, 0.0))
        return read(body)

    upstream.read_chat = slow
    samples = samples_of(upstream, prompts, rate=100.0)
    # The nth request is due 10 n ms after the start of the 300 ms.
    assert sorted(samples.latency_ms, reverse=True)[9] >= 200


@pytest.mark.parametrize("rate", [None, 200.0])
def test_error_responses_are_failures_with_their_reason(
    upstream: BenchUpstream, prompts: str, rate: float | None
) -> None:
    upstream.completion = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow"
    samples = samples_of(upstream, prompts, rate=rate)
    assert (samples.answered, samples.failed, samples.failure) == (0, 20, "HTTP 429: slow")


@pytest.mark.parametrize("rate", [None, 200.0])
def test_a_connection_closed_after_a_response_is_replaced(
    upstream: BenchUpstream, prompts: str, rate: float | None
) -> None:
    upstream.completion = upstream.completion.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    samples = samples_of(upstream, prompts, rate=rate)
    assert (samples.sent, samples.answered) == (20, 20)


def test_an_invalid_http_response_is_a_failure(upstream: BenchUpstream, prompts: str) -> None:
    upstream.completion = b"nonsense\r\n\r\n"
    samples = samples_of(upstream, prompts)
    assert (samples.answered, samples.failed) == (0, 20)


def test_a_stream_that_ends_without_done_is_a_failure(
    upstream: BenchUpstream, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.upstream._DONE", b": the end\n\n")
    samples = samples_of(upstream, prompts, stream=True)
    assert (samples.answered, samples.failed) == (0, 20)
    assert samples.failure.endswith(": the end")


def test_a_stream_without_content_is_a_failure(upstream: BenchUpstream, prompts: str) -> None:
    upstream.before, upstream.after = b"data: ", b"\n\n"
    samples = samples_of(upstream, prompts, stream=True)
    assert (samples.answered, samples.failed) == (0, 20)
