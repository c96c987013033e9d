"""Errors, as upstreams report them."""

from __future__ import annotations

from typing import Any

import pytest

from router.wire.errors import ErrorDetails, error_in, fault_in_event, is_error_body

PARTS = {"message": "No.", "type": "invalid_request_error", "code": "bad", "param": "model"}
DETAILS = ErrorDetails("No.", "invalid_request_error", "bad", "model")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": PARTS}, DETAILS),
        ({"type": "error", "error": PARTS}, DETAILS),
        (PARTS, DETAILS),
        ({"error": "No."}, ErrorDetails("No.")),
        ({"detail": "No."}, ErrorDetails("No.")),
        ({"error": {"message": "No.", "code": 429}}, ErrorDetails("No.", code="429", status=429)),
        ({"error": {"message": "No.", "status": 503}}, ErrorDetails("No.", status=503)),
        ({"error": {"message": ["No."], "code": True}}, ErrorDetails()),
        ({"error": None}, ErrorDetails()),
        (["No."], ErrorDetails("No.")),
        ([{"error": PARTS}], DETAILS),
        ({"errors": [PARTS, {"message": "Also."}]}, DETAILS),
        (
            {"detail": [{"type": "extra", "loc": ["body", "x", 0], "msg": "No."}]},
            ErrorDetails("No.", "extra", None, "x.0"),
        ),
        ({"error": "Bad Request", "message": "No."}, ErrorDetails("No.")),
        ({"__type": "a#B", "message": "No."}, ErrorDetails("No.", "a#B")),
        ({"base_resp": {"status_code": 1004, "status_msg": "No."}}, ErrorDetails("No.")),
        (
            {"error": {"message": '{"error": {"message": "No.", "code": 429}}'}},
            ErrorDetails("No.", code="429", status=429),
        ),
        ({"error": {"message": "Upstream: {}", "code": "x"}}, ErrorDetails("Upstream: {}", code="x")),
        ({"error": {"message": "Failed", "metadata": {"raw": '{"error": "No."}'}}}, ErrorDetails("Failed: No.")),
        ("No.", ErrorDetails("No.")),
        ("<html>No.</html>", ErrorDetails()),
        (None, ErrorDetails()),
    ],
)
def test_the_parts_of_an_error_are_read_in_any_format(body: Any, expected: ErrorDetails) -> None:
    assert error_in(body) == expected


def test_a_message_that_ends_within_an_emoji_can_be_encoded() -> None:
    for body in ({"error": {"message": "Not \ud83d"}}, {"error": "Not \ud83d"}):
        assert error_in(body).message == "Not ?"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"error": {"message": "No."}}, "No."),
        ({"type": "error", "error": {"message": "No."}}, "No."),
        ({"type": "error", "message": "No."}, "No."),
        ({"error": "No."}, "No."),
        ({"type": "response.failed", "response": {"error": {"message": "No."}}}, "No."),
        ({"type": "response.failed", "response": {"status": "failed"}}, None),
    ],
)
def test_an_error_event_is_recognised_in_every_protocol(event: dict[str, Any], message: str | None) -> None:
    fault = fault_in_event(event, at_start=True)
    assert fault is not None
    assert fault.details.message == message


def test_the_failure_of_a_response_after_content_is_no_error_event() -> None:
    failed = {"type": "response.failed", "response": {"error": {"message": "No."}}}
    assert fault_in_event(failed, at_start=False) is None


@pytest.mark.parametrize("event", [{"error": None}, {"error": {}}, {"choices": []}, {"type": "message_stop"}])
def test_other_events_report_no_error(event: dict[str, Any]) -> None:
    assert fault_in_event(event, at_start=True) is None


@pytest.mark.parametrize(
    "body",
    [
        {"error": "No."},
        [{"error": PARTS}],
        {"code": 500, "msg": "No.", "success": False},
        {"code": 500, "message": "No.", "data": None},
        {"code": "InvalidApiKey", "message": "No.", "request_id": "1"},
        {"error_code": 336003, "error_msg": "No.", "id": "as-1"},
        {"success": False, "message": "No."},
        {"detail": "No."},
        {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "No."}},
    ],
)
def test_a_body_reports_an_error_although_the_status_is_a_success(body: Any) -> None:
    assert is_error_body(body)
    assert error_in(body).message == "No."


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"index": 0}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"code": 0, "message": "ok", "data": [1]},
        {"code": 200, "message": "success"},
        {"success": True, "message": "done"},
        {"type": "message", "content": []},
        {"id": "file-1", "object": "file", "status": "processed"},
        {"input_tokens": 5},
        {},
    ],
)
def test_a_body_without_a_stated_failure_is_no_error(body: Any) -> None:
    assert not is_error_body(body)
