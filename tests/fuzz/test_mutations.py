"""The mutation fuzzer: a short run of `bench.fuzz`, and the fuzzer itself."""

from __future__ import annotations

import sys

import pytest

from bench.fuzz import SEED, fuzz
from tests.fuzz.judge import Reply, reply_problems, upstream_problems
from tests.fuzz.mutations import CLIENT_SECRET, Shot, shot

REQUESTS = 3_000
CHAT = Shot(0, "POST", "/v1/chat/completions", (), b"{}")
NAMED = {"x-request-id": "req_1", "content-type": "application/json"}
OPENAI_ERROR = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"invalid_request"}}'


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="starts a session of processes")
def test_nothing_that_a_client_sends_breaks_the_gateway() -> None:
    result = fuzz(list(range(REQUESTS)))
    wrong = [(finding.problem, finding.shot and finding.shot.number) for finding in result.findings]
    assert not wrong, "\n".join(f"{problem} (python -m bench.fuzz --only {number})" for problem, number in wrong[:20])
    # A run that never gets through to an upstream, or is never refused, tests nothing.
    assert result.upstream_calls > REQUESTS / 20
    assert result.statuses[200] > REQUESTS / 10
    assert result.statuses[400] > REQUESTS / 10


def test_the_same_seed_and_number_make_the_same_request() -> None:
    assert [shot(SEED, number) for number in range(50)] == [shot(SEED, number) for number in range(50)]


def test_requests_differ() -> None:
    assert len({shot(SEED, number).raw for number in range(200)}) > 150


def test_a_refusal_in_the_right_shape_is_nothing_wrong() -> None:
    assert list(reply_problems(CHAT, Reply(400, NAMED, OPENAI_ERROR))) == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(0, {}, b"the connection was closed"),
        Reply(500, NAMED, OPENAI_ERROR),
        Reply(400, NAMED, b"Bad Request"),
        Reply(400, {}, OPENAI_ERROR),
        Reply(400, NAMED, OPENAI_ERROR.replace(b"no", b'Traceback (most recent call last): File \\"x\\"')),
        Reply(200, NAMED, b'{"choices":['),
        Reply(200, {**NAMED, "content-type": "text/event-stream"}, b'data: {"choices":[]}\n\n'),
        Reply(200, {**NAMED, "content-type": "text/event-stream"}, b'data: {"error":{}}\n\n'),
    ],
)
def test_what_is_wrong_is_noticed(reply: Reply) -> None:
    assert list(reply_problems(CHAT, reply))


def test_an_openai_error_is_wrong_on_anthropics_surface() -> None:
    messages = Shot(0, "POST", "/v1/messages", (), b"{}")
    assert list(reply_problems(messages, Reply(400, NAMED, OPENAI_ERROR)))


def test_credentials_that_leak_are_noticed() -> None:
    own = {"authorization": "Bearer ours"}
    assert list(upstream_problems(own, {"model": "ok"}, "ours")) == []
    assert list(upstream_problems({"authorization": f"Bearer {CLIENT_SECRET}"}, {}, "ours"))
    assert list(upstream_problems({**own, "x-odd": CLIENT_SECRET}, {}, "ours"))
    assert list(upstream_problems(own, {"api_base": "http://elsewhere"}, "ours"))
