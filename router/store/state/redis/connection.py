"""The connection to Redis or Valkey: every call has a time limit, and a lost server is looked for in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from router.errors import MissingExtraError
from router.store.state.protocol import StateError
from router.store.state.redis.scripts import Script
from router.store.state.redis.url import RedisUrl

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

_LOG = logging.getLogger(__name__)
# A server runs one script at a time: more connections would only wait there.
_MAX_CONNECTIONS = 32
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.05, 5.0
_LOG_EVERY_S = 10.0
UNAVAILABLE = "the limits of this key cannot be checked now: the shared state does not respond; try again soon"


class LostError(StateError):
    """The server does not respond. `was_sent`: it may have carried the call out."""

    def __init__(self, was_sent: bool) -> None:
        self.was_sent = was_sent
        super().__init__("the shared state does not respond; try again soon")


class RedisConnection:
    """Runs scripts and commands, on one event loop.

    After a call that failed or took longer than `limit_s()`, `is_lost`: calls wait for so long that a restart of the
    server may pass, and later fail at once. The server is tried in the background, more and more seldom; when it can be
    written, `recover` is awaited, and calls are made again once it has returned without a LostError.
    """

    def __init__(self, url: RedisUrl, limit_s: Callable[[], float], recover: Callable[[], Awaitable[None]]) -> None:
        """Raises MissingExtraError. Connects with the first call."""
        self._errors = _errors()
        self._url, self._limit_s, self._recover = url, limit_s, recover
        self._client: Redis | RedisCluster | None = None
        self._turns = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._trying: asyncio.Task[None] | None = None
        self._next_log_s = self._lost_s = 0.0
        self._is_back = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_lost = False
        self.failures = 0

    async def run(self, script: Script, keys: Sequence[str], *arguments: object) -> Any:
        """The result of a script. Raises LostError."""
        return await self._call(lambda client: _run(client, script, keys, arguments))

    async def command(self, *words: object) -> Any:
        """The result of a command that uses one key. Raises LostError."""
        return await self._call(lambda client: client.execute_command(*words))

    async def run_now(self, script: Script, keys: Sequence[str], *arguments: object) -> Any:
        """The same although the server is lost: while `recover` runs."""
        return await self._limited(lambda client: _run(client, script, keys, arguments))

    async def aclose(self) -> None:
        """Stop looking for the server, and close all connections."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*self._errors):
                async with asyncio.timeout(self._limit_s()):
                    await client.aclose()

    async def _call(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        if self.is_lost and (left_s := self._lost_s + self._limit_s() - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._is_back.wait()
        if self.is_lost:
            raise LostError(was_sent=False)
        return await self._limited(call)

    async def _limited(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        self.loop, was_sent = asyncio.get_running_loop(), False
        try:
            async with asyncio.timeout(self._limit_s()), self._turns:
                if self._client is None:
                    self._client = _client(self._url, self._limit_s())
                was_sent = True
                return await call(self._client)
        except self._errors as error:
            self._lost(error)
            raise LostError(was_sent) from None

    def _lost(self, error: BaseException) -> None:
        self.failures += 1
        if not self.is_lost:
            self.is_lost, self._lost_s = True, time.monotonic()
            self._is_back.clear()
            if time.monotonic() >= self._next_log_s:
                self._next_log_s = time.monotonic() + _LOG_EVERY_S
                _LOG.error("the shared state does not respond, and is tried again: %s", _reason(error))
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try())

    async def _try(self) -> None:
        """Try the server until it can be written and everything that it has missed is written."""
        pause_s = _FIRST_PAUSE_S
        while True:
            # Many gateways lose a server at the same moment.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)
            with contextlib.suppress(StateError):
                await self._limited(self._probe)
                await self._recover()
                self.is_lost = False
                self._is_back.set()
                _LOG.warning("the shared state responds again")
                return

    async def _probe(self, client: Any) -> None:
        """Write something, and reach all primaries of a cluster. A full server responds, but cannot be written."""
        await client.execute_command("SET", f"{self._url.prefix}:{{check}}", "1", "EX", 60)
        if self._url.is_cluster:
            await client.ping(target_nodes=client.PRIMARIES)


async def _run(client: Any, script: Script, keys: Sequence[str], arguments: Sequence[object]) -> Any:
    from redis.exceptions import NoScriptError

    try:
        return await client.execute_command("EVALSHA", script.sha, script.keys, *keys, *arguments)
    except NoScriptError:
        # The server was started again, or has been asked for the first time.
        return await client.execute_command("EVAL", script.text, script.keys, *keys, *arguments)


def _errors() -> tuple[type[Exception], ...]:
    """What calls raise where the server is not well. Raises MissingExtraError."""
    try:
        from redis.exceptions import RedisClusterException, RedisError
    except ImportError:
        raise MissingExtraError("redis", "redis", "a shared state in Redis or Valkey") from None
    # That of a cluster without a reachable node is no RedisError.
    return RedisError, RedisClusterException, OSError, TimeoutError


def _client(url: RedisUrl, limit_s: float) -> Redis | RedisCluster:
    """A client that connects when it is used, and does not try again by itself: a call has a time limit here."""
    from redis.asyncio import ConnectionPool, Redis, RedisCluster, SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    common: dict[str, Any] = {
        "username": url.username,
        "password": url.password,
        # The limit is that of the whole call, outside.
        "socket_timeout": None,
        "socket_connect_timeout": limit_s,
        "client_name": "pulvinar",
        "protocol": 2,
    }
    if url.is_cluster:
        # Two attempts: one that learns that a slot has moved, and one at its new place.
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in url.hosts],
            retry=Retry(NoBackoff(), 1),
            max_connections=_MAX_CONNECTIONS,
            ssl=url.tls is not None,
            **(url.tls or {}),
            **common,
        )
    common |= {"db": url.db, "retry": Retry(NoBackoff(), 0), "max_connections": _MAX_CONNECTIONS}
    if url.path is not None:
        return Redis.from_pool(ConnectionPool(UnixDomainSocketConnection, path=url.path, **common))
    host, port = url.hosts[0]
    if url.tls is not None:
        common |= {"connection_class": SSLConnection, **url.tls}
    return Redis.from_pool(ConnectionPool(host=host, port=port, **common))


def _reason(error: BaseException) -> str:
    """The error in words. Errors of the client name the host, never the password."""
    return "it takes too long" if isinstance(error, TimeoutError) or not str(error) else str(error).splitlines()[0]
