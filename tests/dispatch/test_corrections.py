"""Calls that are repeated as the errors of a server ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from router.dispatch import Call, Dispatcher, UpstreamResponse
from tests.gateway.servers import make_card, served

HI = {"messages": [{"role": "user", "content": "hi"}]}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]}
Wrong = Callable[[dict[str, Any], Request], str | None]


def sent_to(wrong: Wrong, call: Call, provider: str = "openai_like") -> tuple[UpstreamResponse, int]:
    """The response of a server that says what is `wrong` with a request, and how many requests it got."""
    count = 0

    async def answer(request: Request) -> JSONResponse:
        nonlocal count
        count += 1
        error = wrong(await request.json(), request)
        if error is not None:
            return JSONResponse({"error": {"message": error, "type": "invalid_request_error"}}, 400)
        return JSONResponse(MESSAGE if request.url.path.endswith("messages") else ANSWER)

    async def main(url: str) -> UpstreamResponse:
        dispatcher = Dispatcher()
        try:
            card = make_card("a", url, provider=provider)
            return await dispatcher.send(card, call)
        finally:
            await dispatcher.aclose()

    app = Starlette(routes=[Route("/v1/{path:path}", answer, methods=["POST"])])
    with served(app) as url:
        return asyncio.run(main(url)), count


def test_a_server_that_names_one_field_at_a_time_gets_the_call_without_all_of_them() -> None:
    def wrong(body: dict[str, Any], _: Request) -> str | None:
        field = next((name for name in ("seed", "top_k", "user") if name in body), None)
        return None if field is None else f"Unsupported parameter: '{field}' is not supported with this model."

    response, count = sent_to(wrong, Call("chat", {**HI, "seed": 1, "top_k": 5, "user": "u"}))

    assert (response.status, count) == (200, 4)
    assert set(response.changed) == {"seed", "top_k", "user"}


def test_a_call_is_corrected_although_another_one_has_shown_the_same_meanwhile() -> None:
    rejected, corrected = 0, asyncio.Event()

    async def answer(request: Request) -> JSONResponse:
        nonlocal rejected
        if "seed" not in await request.json():
            corrected.set()
            return JSONResponse(ANSWER)
        rejected += 1
        if rejected == 2:
            await corrected.wait()
        message = "Unrecognized request argument supplied: seed"
        return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, 400)

    async def main(url: str) -> list[int]:
        dispatcher = Dispatcher()
        try:
            card, call = make_card("a", url, provider="openai_like"), Call("chat", {**HI, "seed": 3})
            return [each.status for each in await asyncio.gather(*(dispatcher.send(card, call) for _ in range(2)))]
        finally:
            await dispatcher.aclose()

    app = Starlette(routes=[Route("/v1/{path:path}", answer, methods=["POST"])])
    with served(app) as url:
        assert asyncio.run(main(url)) == [200, 200]
    assert rejected == 2


def test_a_server_that_is_never_satisfied_is_not_asked_forever() -> None:
    response, count = sent_to(lambda *_: "roles must alternate user/assistant", Call("chat", HI))
    assert (response.status, count) == (400, 1)


@pytest.mark.parametrize("header", ["context-management-2025-06-27"])
def test_a_server_that_rejects_a_beta_gets_the_request_without_it(header: str) -> None:
    def wrong(_: dict[str, Any], request: Request) -> str | None:
        return "invalid beta flag" if "anthropic-beta" in request.headers else None

    call = Call("messages", {**HI, "max_tokens": 5}, headers={"anthropic-beta": header})
    response, count = sent_to(wrong, call, "anthropic")

    assert (response.status, count, response.changed) == (200, 2, ("anthropic-beta",))
