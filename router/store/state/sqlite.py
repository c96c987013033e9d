"""What the workers of one machine share: what keys have spent, how often they asked, which card answers a conversation.

One SQLite database: a file where several workers share it or budgets must outlive a restart, else memory. Every change
is one statement that commits by itself, so workers and parallel requests can neither overspend nor lose a count.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from router.errors import BudgetError, ConfigurationError, FileError, RateLimitError
from router.store.database import open_database

_LOG = logging.getLogger(__name__)
_MIGRATIONS = (
    (
        "CREATE TABLE pace (key TEXT PRIMARY KEY, due_us INTEGER NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE spend (
            key TEXT NOT NULL,
            day INTEGER NOT NULL,
            spent INTEGER NOT NULL DEFAULT 0,
            reserved INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (key, day)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE reservation (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL,
            day INTEGER NOT NULL,
            cost INTEGER NOT NULL,
            expires_s INTEGER NOT NULL,
            paid INTEGER
        )
        """,
        """
        CREATE TRIGGER reserve AFTER INSERT ON reservation BEGIN
            INSERT INTO spend (key, day, reserved) VALUES (new.key, new.day, new.cost)
                ON CONFLICT DO UPDATE SET reserved = reserved + new.cost;
        END
        """,
        """
        CREATE TRIGGER release AFTER DELETE ON reservation BEGIN
            UPDATE spend SET reserved = reserved - old.cost WHERE key = old.key AND day = old.day;
        END
        """,
        """
        CREATE TRIGGER settle AFTER UPDATE OF paid ON reservation BEGIN
            UPDATE spend SET spent = spent + new.paid WHERE key = new.key AND day = new.day;
            DELETE FROM reservation WHERE id = new.id;
        END
        """,
        """
        CREATE TABLE conversation (
            session BLOB PRIMARY KEY, card TEXT NOT NULL, seen_s INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
    ),
)
# Each key's next free moment, as in the generic cell rate algorithm (ITU-T I.371); more than a minute ahead means that
# the clock was set back.
_FREE = "CASE WHEN due_us BETWEEN :now AND :now + 60000000 THEN due_us ELSE :now END"
_TAKE = f"""
    INSERT INTO pace VALUES (:key, :now + :step)
    ON CONFLICT DO UPDATE SET due_us = {_FREE} + :step WHERE {_FREE} + :step <= :now + 60000000
"""
_TOTAL = "ifnull((SELECT spent + reserved FROM spend WHERE key = :key AND day = :day), 0)"
_RESERVE = f"""
    INSERT INTO reservation (id, key, day, cost, expires_s)
    SELECT :id, :key, :day, :cost, :expires WHERE :cost = 0 OR {_TOTAL} + :cost <= :budget
"""
_RELEASE = "DELETE FROM reservation WHERE expires_s <= ?"
_SETTLE = "UPDATE reservation SET paid = :cost WHERE id = :id"
_BOOK = """
    INSERT INTO spend (key, day, spent) VALUES (:key, :day, :cost)
    ON CONFLICT DO UPDATE SET spent = spent + :cost
"""
_CARD = "SELECT card FROM conversation WHERE session = :session AND seen_s > :oldest"
# A busy conversation is written once a minute, unless its card changes.
_REMEMBER = """
    INSERT INTO conversation VALUES (:session, :card, :now)
    ON CONFLICT DO UPDATE SET card = :card, seen_s = :now WHERE card <> :card OR seen_s < :now - 60
"""
_NANO = 10**9
_DAY_S = 86_400
_MINUTE_US = 60_000_000
_MOST_NANO = 10**18
_DAYS_KEPT = 90
_BUSY_PAUSE_S = 0.0002
_PATIENCE_S = 2.0
_TEND_EVERY_S = 5.0
_PRUNE_EVERY = 12
_CHECKPOINT_PAGES = 10_000

Values = Mapping[str, Any] | tuple[Any, ...]


class StateError(ConfigurationError):
    """The shared state cannot be read or written now. The message names no path; the log does."""


class Reservation(Struct, frozen=True):
    """Money set aside for one request: the key's id, the day (since 1970, UTC) it counts for, 1e-9 US dollars."""

    id: int
    key_id: str
    day: int
    cost_nano: int


class State:
    """Counters and conversations. Calls take some tens of microseconds, so the event loop makes them itself; threads
    may as well.

    Times are in seconds since 1970, UTC. `hold_s` is how long money stays set aside for a request of which nothing is
    heard any more; it must be longer than any request takes. Conversations are forgotten after `session_age_s`, and
    where there are more than `max_sessions`, those that were quiet for longest. Open one in every worker, after it
    was forked.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        hold_s: float = 900.0,
        max_sessions: int = 100_000,
        session_age_s: float = 86_400.0,
    ) -> None:
        """Open or make the database in `file`, or one in memory. Raises FileError where that cannot be."""
        self._file, self._hold_s = file, hold_s
        self._max_sessions, self._session_age_s = max_sessions, session_age_s
        self._database = _Patient(_opened(file), file)

    def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        """Count one request. A key may ask `rpm` times at once, and then once every `60 / rpm` seconds.

        Raises RateLimitError with the seconds until the next request is taken; a refused one does not count.
        """
        now, step = round(now_s * 1e6), max(_MINUTE_US // rpm, 1)
        values = {"key": key_id, "now": now, "step": step}
        if self._changed(_TAKE, values):
            return
        (free,) = self._row(f"SELECT {_FREE} FROM pace WHERE key = :key", values) or (now,)
        wait_s = max(free + step - now - _MINUTE_US, 1) / 1e6
        raise RateLimitError(f'the key "{key_id}" may ask {rpm} times a minute; wait {wait_s:.1f} s', wait_s)

    def reserve(self, key_id: str, budget_usd: float, expected_cost_usd: float, now_s: float) -> Reservation:
        """Set `expected_cost_usd` aside for a request that begins now; settle it when the request has ended.

        What is spent and set aside on a day (UTC) never exceeds `budget_usd`, so a key overspends by no more than
        forecasts err. What is expected to cost nothing is always let through. Raises BudgetError.
        """
        day, cost = int(now_s // _DAY_S), _nano(expected_cost_usd)
        reservation = Reservation(secrets.randbits(62), key_id, day, cost)
        values = {
            "id": reservation.id,
            "key": key_id,
            "day": day,
            "cost": cost,
            "expires": math.ceil(now_s + self._hold_s),
            # The other way round than costs, so that rounding never overspends.
            "budget": math.floor(min(budget_usd * _NANO, _MOST_NANO)),
        }
        if self._changed(_RESERVE, values):
            return reservation
        # What crashed workers had set aside may be what is in the way.
        if self._changed(_RELEASE, (now_s,)) and self._changed(_RESERVE, values):
            return reservation
        spent, reserved = self._spend_of(key_id, day)
        left_s = (day + 1) * _DAY_S - now_s
        raise BudgetError(
            f'the key "{key_id}" may spend {budget_usd:g}$ a day: {spent / _NANO:.6g}$ are spent, '
            f"{reserved / _NANO:.6g}$ set aside for requests that run, and this one may cost {expected_cost_usd:.3g}$; "
            f"the day ends in {math.ceil(left_s / 60)} minutes, at 00:00 UTC",
            left_s,
        )

    def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Replace what was set aside by what the request has cost, 0 where it cost nothing. Call it once."""
        cost = _nano(cost_usd)
        if self._changed(_SETTLE, {"id": reservation.id, "cost": cost}) or not cost:
            return
        # It took longer than `hold_s`; the money is spent all the same.
        self._changed(_BOOK, {"key": reservation.key_id, "day": reservation.day, "cost": cost})

    def spent_usd(self, key_id: str, now_s: float) -> float:
        """What the key has spent today (UTC), without what is set aside. Only keys with a budget are counted."""
        return self._spend_of(key_id, int(now_s // _DAY_S))[0] / _NANO

    def card_of(self, session: str, now_s: float, key_id: str = "") -> str | None:
        """The id of the card that answered last in this conversation of this key's, None where none is known."""
        oldest = math.floor(now_s - self._session_age_s)
        row = self._row(_CARD, {"session": _digest(key_id, session), "oldest": oldest})
        return str(row[0]) if row else None

    def remember(self, session: str, card: str, now_s: float, key_id: str = "") -> None:
        """Keep in mind which card answered. Only a hash of the conversation's name is stored."""
        self._changed(_REMEMBER, {"session": _digest(key_id, session), "card": card, "now": int(now_s)})

    async def tend(self, clock: Callable[[], float] = time.time, every_s: float = _TEND_EVERY_S) -> None:
        """Forget what is old and keep the files small, again and again until cancelled; off the event loop."""
        turn = 0
        while True:
            await asyncio.sleep(every_s)
            turn += 1
            now_s = clock() if turn % _PRUNE_EVERY == 0 else None
            try:
                await asyncio.to_thread(self.tidy, now_s)
            except ConfigurationError as error:
                _LOG.warning("%s", error)

    def tidy(self, now_s: float | None = None) -> None:
        """Write what was logged into the database; with `now_s`, forget what is old. May be called by any thread."""
        if self._file is None:
            if now_s is not None:
                self._prune(self._database, now_s)
            return
        # A connection of its own, the only one that waits for the disk.
        with contextlib.closing(_Patient(open_database(self._file, _MIGRATIONS), self._file)) as database:
            if now_s is not None:
                self._prune(database, now_s)
            database.run("PRAGMA wal_checkpoint(PASSIVE)", ())

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _prune(self, database: _Patient, now_s: float) -> None:
        """Delete row by row: one long statement would make everybody wait for it."""
        database.run(_RELEASE, (now_s,))
        oldest = math.floor(now_s - self._session_age_s)
        beyond = "SELECT seen_s FROM conversation ORDER BY seen_s DESC LIMIT 1 OFFSET ?"
        # Of those seen in the same second as the first that is too many, all go: the bound holds for sure.
        bound = max([oldest, *(seen_s for (seen_s,) in database.run(beyond, (self._max_sessions,))[1])])
        for (session,) in database.run("SELECT session FROM conversation WHERE seen_s <= ?", (bound,))[1]:
            database.run("DELETE FROM conversation WHERE session = ? AND seen_s <= ?", (session, bound))
        idle_us = round((now_s - 60) * 1e6)
        for (key,) in database.run("SELECT key FROM pace WHERE due_us < ?", (idle_us,))[1]:
            database.run("DELETE FROM pace WHERE key = ? AND due_us < ?", (key, idle_us))
        database.run("DELETE FROM spend WHERE day < ?", (int(now_s // _DAY_S) - _DAYS_KEPT,))

    def _spend_of(self, key_id: str, day: int) -> tuple[int, int]:
        row = self._row("SELECT spent, reserved FROM spend WHERE key = ? AND day = ?", (key_id, day))
        return (row[0], row[1]) if row else (0, 0)

    def _changed(self, sql: str, values: Values) -> bool:
        return self._database.run(sql, values)[0] > 0

    def _row(self, sql: str, values: Values) -> tuple[Any, ...] | None:
        rows = self._database.run(sql, values)[1]
        return rows[0] if rows else None


class _Patient:
    """A connection on which threads take turns, and which waits for other processes.

    The lock is there because SQLite counts changed rows by connection, not by statement.
    """

    def __init__(self, database: sqlite3.Connection, file: Path | None) -> None:
        self._database, self._file = database, file
        self._turn = threading.Lock()
        self.close = database.close

    def run(self, sql: str, values: Values) -> tuple[int, list[tuple[Any, ...]]]:
        """Run one statement; how many rows it changed, and those it found. Raises StateError.

        SQLite's own waiting begins with a whole millisecond, and whoever writes is done sooner.
        """
        deadline = None
        while True:
            try:
                with self._turn:
                    done = self._database.execute(sql, values)
                    return done.rowcount, done.fetchall()
            except sqlite3.Error as error:
                deadline = deadline or time.monotonic() + _PATIENCE_S
                if getattr(error, "sqlite_errorcode", None) not in _BUSY or time.monotonic() > deadline:
                    _LOG.error("%s: %s", self._file or "the state in memory", error)
                    raise StateError(f"what the workers share cannot be read or written: {error}") from None
            time.sleep(_BUSY_PAUSE_S)


_BUSY = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_LOCKED}
)


def _opened(file: Path | None) -> sqlite3.Connection:
    if file is None:
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in (each for version in _MIGRATIONS for each in version):
            database.execute(statement)
        return database
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(str(file), None, f"its folder cannot be made: {error.strerror}") from None
    database = open_database(file, _MIGRATIONS)
    # A killed process loses nothing. A power cut may cost the counts since the last checkpoint.
    database.execute("PRAGMA synchronous = OFF")
    # `tend` does it beside the event loop; this is for a gateway that does not tend.
    database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    database.execute("PRAGMA busy_timeout = 0")
    return database


def _digest(key_id: str, session: str) -> bytes:
    text = f"{len(key_id)}:{key_id}:{session}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _nano(cost_usd: float) -> int:
    """US dollars in units of 1e-9, rounded up. Whole numbers, so that what is set aside and released is the same."""
    if not cost_usd >= 0:
        raise ValueError(f"a cost cannot be {cost_usd}")
    # Twice the greatest budget, for that is what no budget may allow.
    return math.ceil(min(cost_usd * _NANO, 2 * _MOST_NANO))
