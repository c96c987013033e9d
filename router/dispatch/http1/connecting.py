"""New connections: to one of several addresses, with TLS, by way of a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

import aiohappyeyeballs
from yarl import URL

from router.dispatch.http1.errors import BrokenError, ConnectError, ConnectTimeoutError, ProtocolError
from router.dispatch.http1.names import Names
from router.dispatch.http1.parser import AnswerParser
from router.dispatch.http1.target import Origin, default_trust, proxy_credentials

# RFC 8305: the next address is tried after this, while the one before it still may respond.
_NEXT_ADDRESS_S = 0.25
Made = TypeVar("Made", bound=asyncio.Protocol)


async def connected(
    origin: Origin,
    names: Names,
    new: Callable[[], Made],
    limit_s: float,
    trust: ssl.SSLContext | None = None,
) -> Made:
    """A connection to the origin within `limit_s` seconds, with all that belongs to it: names, TLS, the proxy's answer.
    `trust` replaces the origin's.

    Raises ConnectTimeoutError, ConnectError, and BrokenError or ProtocolError where a proxy does not let it through.
    """
    try:
        async with asyncio.timeout(limit_s):
            if origin.proxy is None:
                return await _direct(origin.host, origin.port, trust or origin.trust, names, new)
            return await _by_proxy(origin, origin.proxy, names, new, trust or origin.trust)
    except TimeoutError as error:
        raise ConnectTimeoutError(str(error)) from None


async def _by_proxy(
    origin: Origin, proxy: URL, names: Names, new: Callable[[], Made], trust: ssl.SSLContext | None
) -> Made:
    to_proxy = default_trust() if proxy.scheme == "https" else None
    host, port = proxy.raw_host or "", proxy.port or 0
    if trust is None and not origin.is_http2:
        return await _direct(host, port, to_proxy, names, new)
    tunnel = await _direct(host, port, to_proxy, names, _Tunnel)
    try:
        transport = await tunnel.opened(origin, proxy)
        connection = new()
        if trust is None:
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return connection
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport, connection, trust, server_hostname=_certified(origin.host)
            )
        except (ssl.SSLError, OSError) as error:
            raise ConnectError(f"no TLS by way of the proxy: {error}", error) from None
    except BaseException:
        tunnel.abort()
        raise
    if secure is None:
        raise ConnectError("the connection by way of the proxy ended during the TLS handshake")
    connection.connection_made(secure)
    return connection


async def _direct(host: str, port: int, trust: ssl.SSLContext | None, names: Names, new: Callable[[], Made]) -> Made:
    loop = asyncio.get_running_loop()
    try:
        left = await names.addresses(host, port)
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"the name cannot be found: {error}", error) from None
    while True:
        try:
            socket = await aiohappyeyeballs.start_connection(left, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1)
            hostname = _certified(host) if trust is not None else None
            return (await loop.create_connection(new, sock=socket, ssl=trust, server_hostname=hostname))[1]
        except (OSError, RuntimeError) as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise
            # A server with several addresses may be ill at one of them only.
            aiohappyeyeballs.pop_addr_infos_interleave(left, 1)
            if not left:
                raise ConnectError(str(error), error) from None


def _certified(host: str) -> str:
    """The name that the certificate must have: it has no dot at its end."""
    return host.rstrip(".")


class _Tunnel(asyncio.Protocol):
    """A connection to a proxy, until that has connected it to a server."""

    def __init__(self) -> None:
        self._parser = AnswerParser()
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def opened(self, origin: Origin, proxy: URL) -> asyncio.Transport:
        """The transport to the server. Raises BrokenError or ProtocolError where the proxy refuses."""
        assert self._transport is not None
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        authority = f"{host}:{origin.port}"
        head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{proxy_credentials(proxy)}\r\n"
        self._parser.expect(has_body=False)
        self._transport.write(head.encode())
        await self._answered
        assert self._parser.head is not None
        if self._parser.head.status != 200:
            raise BrokenError(f"the proxy refuses the connection (HTTP {self._parser.head.status})")
        if self._parser.has_extra:
            raise ProtocolError("the proxy sent more than its answer")
        return self._transport

    def abort(self) -> None:
        """End the connection at once."""
        self._answered.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's callback."""
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            self._fail(error)
        else:
            if self._parser.is_complete and not self._answered.done():
                self._answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback."""
        self._fail(BrokenError("the proxy closed the connection"))

    def _fail(self, failure: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(failure)
            # The call may have ended.
            self._answered.exception()
