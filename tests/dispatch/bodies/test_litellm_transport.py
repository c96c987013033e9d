from __future__ import annotations

import asyncio

import httpx

from router.dispatch.bodies.litellm_transport import CheckedTransport


def test_the_http_client_has_no_time_limit_of_its_own_beside_that_of_the_call() -> None:
    # Where both end at once, the second interrupts the closing, and the connection stays open.
    async def main() -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(transport=CheckedTransport(), timeout=0.05) as client:
            response = await client.get(f"http://127.0.0.1:{port}/")
        server.close()
        return response.status_code

    assert asyncio.run(main()) == 200


def test_a_client_that_is_closed_while_an_answer_arrives_closes_after_its_end() -> None:
    # litellm repeats a call over a client of its own, and closes that as soon as the stream has begun.
    async def main() -> tuple[bytes, bool, bytes]:
        closed, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nHel")
            await closed.wait()
            writer.write(b"lo yo")
            ended.set_result(await reader.read())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = httpx.AsyncClient(transport=CheckedTransport())
        response = await client.send(client.build_request("GET", f"http://127.0.0.1:{port}/"), stream=True)
        await client.aclose()
        is_open = not ended.done()
        closed.set()
        body = await response.aread()
        left = await asyncio.wait_for(ended, 5)
        server.close()
        return body, is_open, left

    assert asyncio.run(main()) == (b"Hello yo", True, b"")
