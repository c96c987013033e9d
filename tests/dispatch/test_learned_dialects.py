"""What a server rejects is left out, and remembered where the server accepts the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.dispatch import Call, Dispatcher, relay
from tests.dispatch.calls import BODY
from tests.gateway.servers import COMPLETION, make_card, served

FORM = {"response_format": {"type": "Unknown parameter: 'temperature'."}}


class Strict:
    """A server that rejects `seed`, `top_k` and every part of a tool that it does not know, one at a time. Its model
    `old` rejects `stream_options`, too.
    """

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[dict[str, Any]] = []
        self.idempotency_keys: list[str] = []

    async def answer(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.seen.append(body)
        self.idempotency_keys.append(request.headers.get("idempotency-key", ""))
        problems = [f"Unknown parameter: '{name}'." for name in ("seed", "top_k") if name in body]
        problems += [f"Unknown parameter: 'tools[0].{name}'." for tool in body.get("tools", ()) for name in tool]
        problems += [
            f"Unknown parameter: 'stream_options.{name}'." for name in body.get("stream_options", ()) if name == "odd"
        ]
        problems += [
            "Unknown parameter: 'stream_options'." for _ in [0] if body["model"] == "old" and "stream_options" in body
        ]
        problems += [f"Invalid value: '{body['response_format']['type']}'" for _ in [0] if "response_format" in body]
        if not problems:
            return Response(json.dumps(COMPLETION), media_type="application/json")
        return Response(json.dumps({"error": {"message": problems[0]}}), 400, media_type="application/json")


@pytest.fixture
def strict() -> Iterator[Strict]:
    server = Strict()
    with served(Starlette(routes=[Route("/v1/chat/completions", server.answer, methods=["POST"])])) as server.url:
        yield server


def statuses(strict: Strict, *requests: dict[str, Any]) -> list[int]:
    """The status of each request in turn, by one dispatcher."""

    async def main() -> list[int]:
        dispatcher, card = Dispatcher(), make_card("a", strict.url)
        try:
            headers = {"idempotency-key": "k"}
            calls = [Call("chat", {**BODY, **fields}, "stream" in fields, headers) for fields in requests]
            return [(await dispatcher.send(card, call)).status for call in calls]
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


def test_every_field_that_a_server_rejects_is_sent_to_it_once(strict: Strict) -> None:
    fields = {"seed": 7, "top_k": 3, "temperature": 0.5}

    assert statuses(strict, fields, fields) == [200, 200]
    sent = [[name for name in fields if name in body] for body in strict.seen]
    assert sent == [["seed", "top_k", "temperature"], ["top_k", "temperature"], ["temperature"], ["temperature"]]


def test_what_is_sent_without_a_rejected_field_has_another_idempotency_key(strict: Strict) -> None:
    statuses(strict, {"seed": 7}, {"seed": 7})
    rejected, corrected, again = strict.idempotency_keys
    assert rejected != corrected
    assert again == corrected


def test_an_unknown_part_of_a_tool_says_nothing_about_tools(strict: Strict) -> None:
    tools = {"tools": [{"odd": 1}]}

    assert statuses(strict, tools, tools) == [400, 400]
    assert all("tools" in body for body in strict.seen)


def test_an_error_that_quotes_a_request_changes_no_other_request(strict: Strict) -> None:
    assert statuses(strict, {"temperature": 0.5, **FORM}, {"temperature": 0.5}) == [400, 200]
    assert strict.seen[-1]["temperature"] == 0.5


def test_an_unknown_option_of_one_stream_does_not_end_the_usage_of_others(strict: Strict) -> None:
    stream = {"stream": True}

    assert statuses(strict, {**stream, "stream_options": {"odd": 1}}, stream) == [400, 200]
    assert strict.seen[-1]["stream_options"] == {"include_usage": True}


def asked_for_usage(strict: Strict, *models: str) -> list[tuple[str, bool]]:
    """The model of each call that streams of these models have caused in turn, and whether it asked for the usage."""

    async def main() -> None:
        dispatcher = Dispatcher()
        try:
            for model in models:
                response = await dispatcher.send(make_card(model, strict.url, model), Call("chat", BODY, stream=True))
                assert not isinstance(response.body, bytes)
                await response.body.aclose()
        finally:
            await dispatcher.aclose()

    asyncio.run(main())
    return [(body["model"], "stream_options" in body) for body in strict.seen]


def test_a_model_that_rejects_stream_options_is_asked_for_usage_once_and_others_of_its_server_always(
    strict: Strict,
) -> None:
    assert asked_for_usage(strict, "old", "old", "new") == [
        ("old", True),
        ("old", False),
        ("old", False),
        ("new", True),
    ]


def test_a_model_that_rejected_stream_options_is_asked_for_usage_again_after_a_while(
    strict: Strict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_WITHOUT_USAGE_S", 0.0)
    assert asked_for_usage(strict, "old", "old") == [("old", True), ("old", False)] * 2


ALWAYS = "Reasoning is mandatory for this endpoint and cannot be disabled."
LEVELS = (
    "Unsupported value: 'reasoning_effort' does not support 'none' with this model. "
    "Supported values are: 'low' and 'high'."
)
LITERAL = """[{'loc': ('body', 'reasoning_effort'), 'msg': "Input should be 'low' or 'high'"}]"""


@pytest.mark.parametrize(
    ("error", "least"),
    [
        (ALWAYS, None),
        (LEVELS, "low"),
        (LITERAL, "low"),
        ("Budget 0 is invalid. This model only works in thinking mode.", None),
        ('invalid reasoning value: "none" (must be "high", "medium", "low")', "low"),
        ("Unrecognized request argument supplied: reasoning_effort", None),
        ("`reasoning_effort` is not supported with this model", None),
    ],
)
def test_a_server_that_rejects_thinking_to_be_off_answers_and_is_not_asked_again(error: str, least: str | None) -> None:
    seen: list[str | None] = []

    async def answer(request: Request) -> Response:
        seen.append(json.loads(await request.body()).get("reasoning_effort"))
        if seen[-1] == "none":
            return Response(json.dumps({"error": {"message": error}}), 400, media_type="application/json")
        return Response(json.dumps(COMPLETION), media_type="application/json")

    async def main(url: str) -> list[int]:
        dispatcher, card = Dispatcher(), make_card("a", url)
        small = Call("messages", {**BODY, "max_tokens": 10, "thinking": {"type": "disabled"}})
        try:
            return [(await dispatcher.send(card, small)).status for _ in range(2)]
        finally:
            await dispatcher.aclose()

    with served(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as url:
        assert asyncio.run(main(url)) == [200, 200]
    assert seen == ["none", least, least]
