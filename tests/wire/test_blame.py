from __future__ import annotations

from typing import Any

import pytest

from router.wire.errors import fault_of


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


REQUESTS_PER_MINUTE = (
    "Rate limit reached for gpt-4o in organization org-1 on requests per min (RPM): Limit 500, Used 500."
)
TOKENS_PER_MINUTE = (
    "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 29000."
)
QUOTES_A_KEY = 'Invalid value: "incorrect api key provided"'


@pytest.mark.parametrize(
    ("status", "body", "blame"),
    [
        (401, "", "provider"),
        (401, openai("Incorrect API key provided: sk-1.", "invalid_api_key"), "provider"),
        (402, "", "provider"),
        (429, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), "provider"),
        (403, openai("The key is disabled", "invalid_api_key"), "provider"),
        (400, {"code": "Arrearage", "message": "Your account is not in good standing."}, "provider"),
        (429, openai(REQUESTS_PER_MINUTE), "provider"),
        # Whether the tokens that are left suffice depends on the request.
        (429, openai(TOKENS_PER_MINUTE), "server"),
        (402, openai("This request requires more credits, or fewer max_tokens. You can only afford 900."), "request"),
        (429, "Too Many Requests", "server"),
        (500, openai("The server had an error"), "server"),
        (404, openai("Item with id 'rs_1' not found"), "request"),
        (403, openai("Your request was refused"), "request"),
        # The words of a client, which the error quotes.
        (400, openai(QUOTES_A_KEY), "server"),
        (403, openai(QUOTES_A_KEY), "server"),
        (500, openai(QUOTES_A_KEY), "server"),
        (400, openai('bad message {"error": {"message": "invalid api key", "code": "invalid_api_key"}}'), "server"),
    ],
)
def test_only_what_a_client_cannot_have_written_blames_the_provider(status: int, body: Any, blame: str) -> None:
    assert fault_of(status, body).blame == blame


def test_an_error_in_a_stream_never_blames_the_provider_for_a_refused_key() -> None:
    assert fault_of(None, {"type": "authentication_error", "message": "invalid x-api-key"}).blame == "server"


def test_a_request_that_exceeds_the_whole_limit_is_at_fault_itself() -> None:
    text = "Rate limit reached on tokens per min (TPM): Limit 30,000, Used 0, Requested 31,000."
    assert fault_of(429, openai(text)).kind == "request_rate"
    assert fault_of(429, openai(text.replace("31,000", "900"))).kind == "rate"
