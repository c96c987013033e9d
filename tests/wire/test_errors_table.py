"""What the errors of real servers mean: their bodies, as the servers send them, and the kind of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.errors import KINDS, fault_of


def openai(message: str, type_: str | None = "invalid_request_error", code: Any = None, param: Any = None) -> Any:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


_TABLE = Path(__file__).with_name("upstream_errors.jsonl")
ERRORS = [json.loads(line) for line in _TABLE.read_text("utf-8").splitlines()]


def test_an_error_has_its_kind_in_every_servers_words() -> None:
    wrong = []
    for error in ERRORS:
        fault = fault_of(error["status"], error["body"])
        if (fault.kind, fault.limit_tokens) != (error["kind"], error.get("limit_tokens")):
            wrong.append((error, fault))
    assert wrong == []


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda body: [body],
        lambda body: {"error": body},
        lambda body: {"errors": [body]},
        lambda body: {"error": {"message": json.dumps(body), "type": None, "code": None}},
        lambda body: {"error": {"message": f"Provider said: {json.dumps(body)}"}},
        lambda body: {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(body)}}},
    ],
    ids=["list", "error", "errors", "json in the message", "json after words", "raw"],
)
def test_the_kind_does_not_depend_on_the_wrapping(wrapped: Any) -> None:
    errors = [error for error in ERRORS if not isinstance(error["body"], str)]
    assert len(errors) > 100
    assert [error for error in errors if fault_of(error["status"], wrapped(error["body"])).kind != error["kind"]] == []


@pytest.mark.parametrize(
    ("message", "wait_s"),
    [
        ("Please try again in 6.5s.", 6.5),
        ("Please try again in 250ms.", 0.25),
        ("Please try again in 7m12s.", 432.0),
        ("Please retry in 34.07s.", 34.07),
        ("Retry after 30 seconds", 30.0),
        ("try again in 5 minutes", 300.0),
        ("try again later", None),
    ],
)
def test_the_time_that_a_server_asks_to_wait_is_read_from_its_words(message: str, wait_s: float | None) -> None:
    assert fault_of(429, openai(message)).wait_s == wait_s


def test_googles_retry_delay_is_the_time_to_wait() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
    assert fault_of(429, {"error": {"message": "no", "details": [info]}}).wait_s == 34.0


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (500, openai("no"), "http_500"),
        (400, openai("no"), "http_400"),
        (401, "", "http_401"),
        (500, openai("Overloaded"), "overloaded"),
        (400, openai("prompt is too long"), "context"),
        (None, openai("no"), "error_event"),
    ],
)
def test_records_name_the_kind_where_words_state_it_else_the_status(status: int | None, body: Any, name: str) -> None:
    assert fault_of(status, body).name == name


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "errors", "metadata", "raw", "code"]), inner)
    ),
    max_leaves=12,
)


@given(st.none() | st.integers(400, 599), _json)
def test_every_body_has_a_kind_and_a_status_that_is_an_error(status: int | None, body: Any) -> None:
    fault = fault_of(status, body)
    assert fault.kind in KINDS
    assert 400 <= fault.status < 600
