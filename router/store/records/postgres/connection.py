"""A connection to PostgreSQL for synchronous code, and those of this process that are idle.

asyncpg needs an event loop, but records are moved and read in threads that have none. So each connection has a loop of
its own, which runs only while a thread waits for the connection.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from router.errors import MissingExtraError
from router.store.database import DatabaseError, ForeignDatabaseError
from router.store.records.postgres.address import Address

try:
    import asyncpg
except ImportError:
    raise MissingExtraError("asyncpg", "postgres", "keeping records in PostgreSQL") from None

CONNECT_TIMEOUT_S = 5.0
WRITE_TIMEOUT_S = 10.0
"""How long a batch of records, or feedback, may take."""
READ_TIMEOUT_S = 30.0
SCHEMA = "pulvinar"

_MOST_IDLE = 4
_IDLE_S = 60.0
# A connection that was idle for longer is asked whether it still works, before it is used again.
_FRESH_S = 0.5
_PING_TIMEOUT_S = 2.0
_REFUSALS = ("28", "3D")
_READ_ONLY = "25006"
Value = TypeVar("Value")


class Connection:
    """One connection. Threads may share it if they use it one at a time. Close it after an error that broke it.

    `known_days` are those that have a partition, `is_prepared` whether the schema was found up to date.
    """

    def __init__(self, address: Address) -> None:
        """Connect. Raises DatabaseError, or ForeignDatabaseError where the server refuses user or database."""
        self.address, self.is_broken, self.is_prepared = address, False, False
        self.known_days: set[int] = set()
        # Not the gateway's kind of loop: this one runs in threads, for moments.
        self._loop = asyncio.SelectorEventLoop()
        self._raw: Any = None
        try:
            self._raw = self.run(self._opened(), CONNECT_TIMEOUT_S + 1)
        except BaseException:
            self._loop.close()
            raise

    async def _opened(self) -> Any:
        options = {"timeout": CONNECT_TIMEOUT_S, "server_settings": {"application_name": "pulvinar"}}
        raw = await asyncpg.connect(self.address.url, **options)
        await raw.execute(f"SET search_path TO {SCHEMA}, public")
        return raw

    @property
    def raw(self) -> Any:
        """asyncpg's connection, for coroutines that `run` runs."""
        return self._raw

    def run(self, work: Coroutine[Any, Any, Value], timeout_s: float | None = WRITE_TIMEOUT_S) -> Value:
        """Wait for a coroutine that uses `raw`. Raises DatabaseError; the connection may then be broken."""
        with self._errors(timeout_s):
            return self._loop.run_until_complete(asyncio.wait_for(work, timeout_s))

    def select(self, sql: str, *values: object) -> list[Any]:
        """The rows of a query. Raises DatabaseError."""
        return list(self.run(self._raw.fetch(sql, *values), READ_TIMEOUT_S))

    @contextlib.contextmanager
    def _errors(self, timeout_s: float | None) -> Iterator[None]:
        where, scrub = self.address.shown, self.address.scrub
        # Until it is known to be whole: what interrupts a command leaves its answer on the way.
        self.is_broken = True
        try:
            yield
            self.is_broken = False
        except asyncpg.exceptions.ClientConfigurationError as error:
            raise ForeignDatabaseError(where, None, f"cannot be used: {scrub(str(error))}") from None
        except TimeoutError:
            raise DatabaseError(where, None, f"does not answer within {timeout_s:.0f} s") from None
        except asyncpg.PostgresError as error:
            self._check()
            # After a failover the old primary may be there still, as a standby.
            self.is_broken |= error.sqlstate == _READ_ONLY
            if (error.sqlstate or "").startswith(_REFUSALS):
                raise ForeignDatabaseError(where, None, f"refuses the connection: {scrub(str(error))}") from None
            raise DatabaseError(where, None, f"cannot be used: {scrub(str(error))}") from error
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise DatabaseError(where, None, f"cannot be reached: {scrub(str(error))}") from error
        except Exception:
            # Something of ours, after which the transaction was rolled back.
            self._check()
            raise

    def _check(self) -> None:
        self.is_broken = self._raw is None or self._raw.is_closed()

    def close(self) -> None:
        """Close the connection without waiting for the server."""
        if self._loop.is_closed():
            return
        if self._raw is not None:
            self._raw.terminate()
        self._loop.run_until_complete(_end_of_tasks())
        self._loop.close()


async def _end_of_tasks() -> None:
    """Cancel what asyncpg may still be busy with, such as the cancellation of a command, and let transports close."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, asyncio.sleep(0), return_exceptions=True)


class _Idle:
    """The idle connections of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[float, Connection]] = []
        self._pid = os.getpid()

    def take(self, address: Address) -> Connection | None:
        with self._lock:
            if self._pid != os.getpid():
                # Those of the process that this one is a copy of are not ours to use or close.
                self._idle, self._pid = [], os.getpid()
            for position in reversed(range(len(self._idle))):
                if self._idle[position][1].address == address:
                    since_s, connection = self._idle.pop(position)
                    break
            else:
                return None
        idle_s = time.monotonic() - since_s
        if idle_s < _FRESH_S or (idle_s < _IDLE_S and _still_works(connection)):
            return connection
        connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        now_s = time.monotonic()
        with self._lock:
            kept = [(now_s, connection), *self._idle]
            old = [each for since_s, each in kept[_MOST_IDLE:]]
            old += [each for since_s, each in kept[:_MOST_IDLE] if now_s - since_s > _IDLE_S]
            self._idle = [pair for pair in kept if pair[1] not in old]
        for each in old:
            each.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle if self._pid == os.getpid() else ():
            connection.close()


_IDLE = _Idle()
atexit.register(_IDLE.close)


def lend(address: Address) -> Connection:
    """A connection that is idle, or a new one. Raises DatabaseError."""
    return _IDLE.take(address) or Connection(address)


def give_back(connection: Connection) -> None:
    """Keep a connection for later, if it is whole."""
    if connection.is_broken:
        connection.close()
    else:
        _IDLE.give_back(connection)


def _still_works(connection: Connection) -> bool:
    try:
        connection.run(connection.raw.fetchval("SELECT 1"), _PING_TIMEOUT_S)
    except DatabaseError:
        return False
    return True
