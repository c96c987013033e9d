"""Retries at the same deployment."""

from __future__ import annotations

import asyncio
import contextlib
import re

import msgspec

from router.cards.servers import Place, RateLimits
from router.dispatch import Call, Dispatcher, DispatchSettings
from tests.dispatch.calls import BODY
from tests.gateway.servers import make_card

ANSWER = msgspec.json.encode({"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]})
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)


class FlakyServer:
    """A server that closes its first connection without a response; `most_running` is the peak of running calls."""

    def __init__(self) -> None:
        self.calls = self.running = self.most_running = 0
        self.heads: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.read(65536)
                self.calls += 1
                self.heads.append(head)
                self.running += 1
                self.most_running = max(self.most_running, self.running)
                is_first = self.calls == 1
                await asyncio.sleep(0.05)
                self.running -= 1
                if is_first:
                    break
                writer.write(RESPONSE)


def test_a_call_keeps_its_slot_while_it_is_retried() -> None:
    async def main() -> tuple[list[int], FlakyServer, int]:
        flaky, dispatcher = FlakyServer(), Dispatcher(DispatchSettings(retries=1))
        server = await asyncio.start_server(flaky.answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        place = Place(url, rate_limits=RateLimits(concurrency=1))
        card = msgspec.structs.replace(make_card("a", url), base_url=None, deployments=(place,))
        try:
            calls = (dispatcher.send_first_healthy([card], Call("chat", BODY)) for _ in range(2))
            responses = await asyncio.gather(*calls)
            running = dispatcher.pool.health_of(dispatcher.pool.deployments_of(card)[0]).running
            return [response.status for response in responses], flaky, running
        finally:
            await dispatcher.aclose()
            server.close()

    statuses, flaky, running = asyncio.run(main())

    assert statuses == [200, 200]
    assert (flaky.calls, flaky.most_running) == (3, 1)
    assert running == 0


def test_a_retry_has_the_idempotency_key_of_the_call_that_it_repeats() -> None:
    async def main() -> FlakyServer:
        flaky, dispatcher = FlakyServer(), Dispatcher(DispatchSettings(retries=1))
        server = await asyncio.start_server(flaky.answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            await dispatcher.send_first_healthy(
                [make_card("a", url)], Call("chat", BODY, headers={"idempotency-key": "k"})
            )
            return flaky
        finally:
            await dispatcher.aclose()
            server.close()

    first, second = (re.search(rb"idempotency-key: (\S+)", head) for head in asyncio.run(main()).heads)

    assert first is not None
    assert second is not None
    assert first[1] == second[1]
