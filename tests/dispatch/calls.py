"""One call through a dispatcher of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from router.cards import Card
from router.dispatch import Answer, Dispatcher, Timeouts

BODY = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}


def call(
    *cards: Card,
    body: Mapping[str, Any] = BODY,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
    timeouts: Timeouts | None = None,
) -> tuple[Answer, bytes]:
    """The answer, and its body read to the end."""

    async def main() -> tuple[Answer, bytes]:
        dispatcher = Dispatcher(timeouts)
        try:
            answer = await dispatcher.send_first_healthy(cards, body, stream=stream, headers=headers or {})
            if isinstance(answer.body, bytes):
                return answer, answer.body
            try:
                return answer, await answer.body.whole()
            finally:
                await answer.body.aclose()
        finally:
            await dispatcher.aclose()

    return asyncio.run(main())


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
