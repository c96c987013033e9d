"""The mutation fuzzer: a short run of `bench.fuzz`, and the fuzzer itself."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from bench.fuzz import SEED, fuzz_requests
from bench.gateway.processes import Start
from tests.fuzz.judge import Reply, reply_problems, upstream_problems
from tests.fuzz.mutations import CLIENT_SECRET, FuzzRequest, fuzz_request

REQUESTS = 2_000
CHAT = FuzzRequest(0, "POST", "/v1/chat/completions", (), b"{}")
HEADERS = {"x-request-id": "req_1", "content-type": "application/json"}
OPENAI_ERROR = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"invalid_request"}}'


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="starts processes in a session")
def test_no_mutated_request_breaks_the_gateway(warm: Callable[[Start], Start]) -> None:
    result = fuzz_requests(list(range(REQUESTS)), started=warm)
    found = [(finding.problem, finding.number) for finding in result.findings]
    assert not found, "\n".join(
        f"{problem} (python -m bench.fuzz --only requests {number})" for problem, number in found[:20]
    )
    # A run in which no request reaches an upstream, or none is rejected, tests nothing.
    assert result.upstream_calls > REQUESTS / 20
    assert result.statuses[200] > REQUESTS / 10
    assert result.statuses[400] > REQUESTS / 10


def test_the_same_seed_and_number_give_the_same_request() -> None:
    assert [fuzz_request(SEED, number) for number in range(50)] == [fuzz_request(SEED, number) for number in range(50)]


def test_requests_differ() -> None:
    assert len({fuzz_request(SEED, number).raw for number in range(200)}) > 150


def test_an_error_in_the_right_format_is_no_problem() -> None:
    assert list(reply_problems(CHAT, Reply(400, HEADERS, OPENAI_ERROR))) == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(0, {}, b"the connection was closed"),
        Reply(500, HEADERS, OPENAI_ERROR),
        Reply(400, HEADERS, b"Bad Request"),
        Reply(400, {}, OPENAI_ERROR),
        Reply(400, HEADERS, OPENAI_ERROR.replace(b"no", b'Traceback (most recent call last): File \\"x\\"')),
        Reply(200, HEADERS, b'{"choices":['),
        Reply(200, {**HEADERS, "content-type": "text/event-stream"}, b'data: {"choices":[]}\n\n'),
        Reply(200, {**HEADERS, "content-type": "text/event-stream"}, b'data: {"error":{}}\n\n'),
    ],
)
def test_an_invalid_response_is_a_problem(reply: Reply) -> None:
    assert list(reply_problems(CHAT, reply))


def test_an_openai_error_is_a_problem_on_anthropics_surface() -> None:
    messages = FuzzRequest(0, "POST", "/v1/messages", (), b"{}")
    assert list(reply_problems(messages, Reply(400, HEADERS, OPENAI_ERROR)))


def test_leaked_credentials_are_a_problem() -> None:
    valid_headers = {"authorization": "Bearer ours"}
    assert list(upstream_problems(valid_headers, {"model": "ok"}, "ours")) == []
    assert list(upstream_problems({"authorization": f"Bearer {CLIENT_SECRET}"}, {}, "ours"))
    assert list(upstream_problems({**valid_headers, "x-odd": CLIENT_SECRET}, {}, "ours"))
    assert list(upstream_problems(valid_headers, {"api_base": "http://elsewhere"}, "ours"))
