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
