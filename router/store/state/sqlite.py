"""The state that the workers of one machine share, in SQLite: request rates, spending, and the cards of conversations.

The database is a file if workers share it or if budgets must survive a restart, otherwise it is in memory. Every change
is a single statement in its own transaction, so parallel workers and requests neither overspend nor lose a count.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from router.errors import BudgetError, ConfigurationError, FileError
from router.store.database import open_database
from router.store.state import blobs, trials
from router.store.state.connection import RetryingConnection, Values
from router.store.state.limits import (
    DAY_S,
    MAX_NANO,
    MINUTE_US,
    NANO,
    Amounts,
    amounts_of,
    budget_rejection,
    digest,
    nano,
    rate_rejection,
    step_us,
)
from router.store.state.protocol import Blob, Claim, LastAnswer, Reservation, TrialCounts

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
    ("ALTER TABLE conversation ADD COLUMN server TEXT NOT NULL DEFAULT ''",),
    (
        # A request that never ended counts as spent; `booked` keeps its row for a late settlement.
        "ALTER TABLE reservation ADD COLUMN worst INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE reservation ADD COLUMN booked INTEGER NOT NULL DEFAULT 0",
        "UPDATE reservation SET worst = cost",
        "CREATE INDEX running ON reservation (key, day, booked)",
        "DROP TRIGGER release",
        """
        CREATE TRIGGER release AFTER DELETE ON reservation WHEN old.booked = 0 BEGIN
            UPDATE spend SET reserved = reserved - old.cost WHERE key = old.key AND day = old.day;
        END
        """,
        """
        CREATE TRIGGER expire AFTER UPDATE OF booked ON reservation BEGIN
            UPDATE spend SET reserved = reserved - new.cost, spent = spent + new.cost
                WHERE key = new.key AND day = new.day;
        END
        """,
        "DROP TRIGGER settle",
        """
        CREATE TRIGGER settle AFTER UPDATE OF paid ON reservation BEGIN
            UPDATE spend SET spent = spent + new.paid - new.booked * new.cost WHERE key = new.key AND day = new.day;
            DELETE FROM reservation WHERE id = new.id;
        END
        """,
    ),
    trials.MIGRATION,
    trials.MIGRATION_KEYS,
    blobs.MIGRATION,
)
# The key's theoretical arrival time in the generic cell rate algorithm (ITU-T I.371). Times of parallel requests are
# not in order, so it may be a little more than a minute ahead; if it is more than two, the clock was set back.
_FREE = "CASE WHEN due_us BETWEEN :now AND :now + 120000000 THEN due_us ELSE :now END"
_TAKE = f"""
    INSERT INTO pace VALUES (:key, :now + :step)
    ON CONFLICT DO UPDATE SET due_us = {_FREE} + :step WHERE {_FREE} + :step <= :now + 60000000
"""
_SPENT = "ifnull((SELECT spent FROM spend WHERE key = :key AND day = :day), 0)"
_TOTAL = "ifnull((SELECT spent + reserved FROM spend WHERE key = :key AND day = :day), 0)"
_RUNNING = "FROM reservation WHERE key = :key AND day = :day AND booked = 0 AND worst > 0"
# In parallel only where the worst case of all requests together exceeds the budget by no more than one of them.
_RESERVE = f"""
    INSERT INTO reservation (id, key, day, cost, worst, expires_s)
    SELECT :id, :key, :day, :cost, :worst, :expires
    WHERE :worst = 0
        OR ({_TOTAL} + :worst <= :budget AND {_SPENT} + (SELECT ifnull(sum(worst), 0) {_RUNNING}) < :budget)
        OR ({_SPENT} + :likely <= :budget AND NOT EXISTS (SELECT 1 {_RUNNING}))
"""
_EXPIRE = "UPDATE reservation SET booked = 1 WHERE booked = 0 AND expires_s <= ?"
_RENEW = "UPDATE reservation SET expires_s = ? WHERE booked = 0 AND id = ?"
_FORGET = "DELETE FROM reservation WHERE booked = 1 AND expires_s <= ?"
_SETTLE = "UPDATE reservation SET paid = :cost WHERE id = :id"
_LAST_ANSWER = "SELECT card, server FROM conversation WHERE session = :session AND seen_s > :oldest"
# An active conversation is written once a minute, or when its card or server changes. An answer that could not be
# written at its time must not replace a newer one, of another worker.
_REMEMBER = """
    INSERT INTO conversation (session, card, server, seen_s) VALUES (:session, :card, :server, :now)
    ON CONFLICT DO UPDATE SET card = :card, server = :server, seen_s = :now
        WHERE seen_s <= :now AND (card <> :card OR server <> :server OR seen_s < :now - 60)
"""
# No key has an empty id.
_CHECK = "INSERT INTO pace VALUES ('', :now) ON CONFLICT DO UPDATE SET due_us = :now"
_KEEP_DAYS = 90
HOLD_S = 30.0
"""How long a reservation holds without being renewed, which is done every five seconds."""
_MAINTAIN_EVERY_S = 5.0
_PRUNE_EVERY = 12
_CHECKPOINT_PAGES = 10_000


class SqliteState:
    """The `StateStore` of the workers of one machine. Open it in every worker, after the fork.

    A call takes some tens of microseconds and does not suspend; it may wait for the lock of another process, so the
    gateway calls it in threads (`ThreadedState`), which may share one object. `maintain` renews the reservations of
    running requests. One that is neither renewed nor settled, since its process was killed, is spent after `hold_s`.
    Conversations are deleted `session_age_s` after their last answer; if there are more than `max_sessions`, the least
    recently active ones are deleted.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        hold_s: float = HOLD_S,
        max_sessions: int = 100_000,
        session_age_s: float = 86_400.0,
    ) -> None:
        """Open or create the database in `file`, or one in memory. Raises FileError."""
        self.problem: str | None = None
        self._file, self._hold_s = file, hold_s
        self._max_sessions, self._session_age_s = max_sessions, session_age_s
        self._database = RetryingConnection(_opened(file), file)
        # The requests of this process by reservation, with their keys.
        self._running: dict[int, str] = {}

    async def take_request(self, key_id: str, rpm: int, now_s: float) -> None:
        """Count one request. A key may send a burst of `rpm` requests, and then one every `60 / rpm` seconds.

        Raises RateLimitError with the seconds until the next request is allowed; rejected requests do not count.
        """
        now, step = round(now_s * 1e6), step_us(rpm)
        values = {"key": key_id, "now": now, "step": step}
        if self._changed(_TAKE, values):
            return
        (free,) = self._row(f"SELECT {_FREE} FROM pace WHERE key = :key", values) or (now,)
        raise rate_rejection(key_id, rpm, max(free + step - now - MINUTE_US, 1) / 1e6)

    async def reserve(self, claim: Claim, now_s: float) -> Reservation:
        """Reserve a part of a key's budget for a request that starts now. Settle the reservation when the request ends.

        A UTC day's spending exceeds the budget by the worst case of one request at most. A request whose worst case
        costs nothing is always accepted. See `StateStore.reserve`. Raises BudgetError.
        """
        amounts = amounts_of(claim, now_s)
        reservation = Reservation(secrets.randbits(62), claim.key_id, amounts.day, amounts.cost)
        values = {
            **msgspec.structs.asdict(amounts),
            "id": reservation.id,
            "key": claim.key_id,
            "expires": math.ceil(now_s + self._hold_s),
        }
        # Expired reservations of killed workers may have caused a rejection: book them and try again.
        if not self._changed(_RESERVE, values) and not (
            self._changed(_EXPIRE, (now_s,)) and self._changed(_RESERVE, values)
        ):
            raise self._rejection(claim, amounts, values, now_s)
        self._running[reservation.id] = claim.key_id
        return reservation

    async def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Replace the reservation by the actual cost of the request, which may be 0. Call it once."""
        cost = nano(cost_usd)
        # Where the state cannot be written, the reservation expires, and is spent then.
        self._running.pop(reservation.id, None)
        if self._changed(_SETTLE, {"id": reservation.id, "cost": cost}) or not cost:
            return
        # Its row is gone: it expired more than a day ago, and was counted then.
        _LOG.warning("a request of the key %s was settled after its reservation was deleted", reservation.key_id)

    async def spent_usd(self, key_id: str, now_s: float) -> float:
        """What the key has spent today (UTC), without reservations. Spending is counted for keys with a budget only."""
        self._changed(_EXPIRE, (now_s,))
        return self._spend_of(key_id, int(now_s // DAY_S))[0] / NANO

    async def last_answer(self, session: str, now_s: float, key_id: str = "") -> LastAnswer | None:
        """Who last answered this conversation of the key; None if that is not known."""
        oldest = math.floor(now_s - self._session_age_s)
        row = self._row(_LAST_ANSWER, {"session": digest(key_id, session), "oldest": oldest})
        return LastAnswer(*row) if row else None

    async def remember(self, session: str, answer: LastAnswer, now_s: float, key_id: str = "") -> None:
        """Store who answered the conversation. The session name is stored as a hash only."""
        values = {"session": digest(key_id, session), "card": answer.card, "server": answer.server}
        self._changed(_REMEMBER, {**values, "now": int(now_s)})

    async def count_trial(self, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str = "") -> TrialCounts:
        """Count one answer of the canary or its predecessor."""
        return trials.count(self._database, trial, is_new=is_new, is_bad=is_bad, key_id=key_id)

    async def trial_by_key(self, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
        """The counts of each key."""
        return trials.by_key(self._database, trial)

    async def stop_trial(self, trial: tuple[str, str], why: str, now_s: float) -> bool:
        """Roll a canary back. False where that has been done already."""
        return trials.stop(self._database, trial, why, now_s)

    async def restart_trial(self, trial: tuple[str, str]) -> None:
        """Forget the counts of a canary, and that it was rolled back."""
        trials.forget(self._database, trial)

    async def trials(self) -> tuple[TrialCounts, ...]:
        """All trials."""
        return trials.all_trials(self._database)

    async def swap_blob(self, blob: Blob, now_s: float) -> int:
        """See `StateStore`."""
        return blobs.swap(self._database, blob, now_s)

    async def blobs_after(self, version: int, prefix: str) -> tuple[Blob, ...]:
        """See `StateStore`."""
        return blobs.after(self._database, version, prefix)

    def check(self) -> None:
        """Write something, from any thread. Raises StateError if that is not possible now."""
        self._changed(_CHECK, {"now": time.time_ns() // 1000})

    async def maintain(self, clock: Callable[[], float] = time.time, every_s: float = _MAINTAIN_EVERY_S) -> None:
        """Delete old entries and keep the files small, in a thread every few seconds, until cancelled."""
        runs = 0
        while True:
            await asyncio.sleep(every_s)
            runs += 1
            now_s = clock() if runs % _PRUNE_EVERY == 0 else None
            try:
                await asyncio.to_thread(self.renew, clock())
                await asyncio.to_thread(self.maintain_once, now_s)
            except ConfigurationError as error:
                _LOG.warning("%s", error)

    def renew(self, now_s: float) -> None:
        """Keep the reservations of this process's requests from expiring. Any thread may call it."""
        expires = math.ceil(now_s + self._hold_s)
        for id_ in tuple(self._running):
            self._database.run(_RENEW, (expires, id_))

    def maintain_once(self, now_s: float | None = None) -> None:
        """Checkpoint the write-ahead log; with `now_s`, also delete old entries. Any thread may call it."""
        if self._file is None:
            if now_s is not None:
                self._prune(self._database, now_s)
            return
        # A separate connection, the only one that waits for the disk.
        with contextlib.closing(RetryingConnection(open_database(self._file, _MIGRATIONS), self._file)) as database:
            if now_s is not None:
                self._prune(database, now_s)
            database.run("PRAGMA wal_checkpoint(PASSIVE)", ())

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _prune(self, database: RetryingConnection, now_s: float) -> None:
        """Delete row by row: one long statement would block all other connections."""
        database.run(_EXPIRE, (now_s,))
        database.run(_FORGET, (now_s - DAY_S,))
        oldest, now = math.floor(now_s - self._session_age_s), math.floor(now_s)
        # What is kept for longer than conversations is dated in the future: it must not count among them.
        for first, last, bound in ((0, now, oldest), (now + 1, MAX_NANO, now)):
            self._prune_conversations(database, first, last, bound)
        blobs.prune(database, now_s)
        idle_us = round((now_s - 60) * 1e6)
        for (key,) in database.run("SELECT key FROM pace WHERE due_us < ?", (idle_us,))[1]:
            database.run("DELETE FROM pace WHERE key = ? AND due_us < ?", (key, idle_us))
        database.run("DELETE FROM spend WHERE day < ?", (int(now_s // DAY_S) - _KEEP_DAYS,))

    def _prune_conversations(self, database: RetryingConnection, first_s: int, last_s: int, bound_s: int) -> None:
        """Of the conversations from `first_s` to `last_s`, delete those up to `bound_s`, and the oldest ones over the
        limit.
        """
        first_excess = (
            "SELECT seen_s FROM conversation WHERE seen_s BETWEEN ? AND ? ORDER BY seen_s DESC LIMIT 1 OFFSET ?"
        )
        excess = database.run(first_excess, (first_s, last_s, self._max_sessions))[1]
        # All conversations of the same second as the first excess one are deleted, so the limit is never exceeded.
        bound_s = max([bound_s, *(seen_s for (seen_s,) in excess)])
        chosen = "SELECT session FROM conversation WHERE seen_s BETWEEN ? AND ?"
        for (session,) in database.run(chosen, (first_s, bound_s))[1]:
            database.run("DELETE FROM conversation WHERE session = ? AND seen_s <= ?", (session, bound_s))

    def _rejection(self, claim: Claim, amounts: Amounts, values: Mapping[str, Any], now_s: float) -> BudgetError:
        """Why a request cannot be accepted, and when money returns."""
        spent, reserved = self._spend_of(claim.key_id, amounts.day)
        # A request of this process ends at any moment; another one may be that of a killed process.
        (first_s,) = self._row(f"SELECT min(expires_s) {_RUNNING}", values) or (None,)
        is_ours = claim.key_id in tuple(self._running.values())
        wait_s = 1.0 if is_ours or first_s is None else max(first_s - now_s, 1.0)
        return budget_rejection(claim, amounts, spent, reserved, now_s, wait_s)

    def _spend_of(self, key_id: str, day: int) -> tuple[int, int]:
        row = self._row("SELECT spent, reserved FROM spend WHERE key = ? AND day = ?", (key_id, day))
        return (row[0], row[1]) if row else (0, 0)

    def _changed(self, sql: str, values: Values) -> bool:
        return self._database.run(sql, values)[0] > 0

    def _row(self, sql: str, values: Values) -> tuple[Any, ...] | None:
        rows = self._database.run(sql, values)[1]
        return rows[0] if rows else None


def _opened(file: Path | None) -> sqlite3.Connection:
    if file is None:
        database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        for statement in (statement for version in _MIGRATIONS for statement in version):
            database.execute(statement)
        return database
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise FileError(str(file), None, f"its folder cannot be created: {error.strerror}") from None
    database = open_database(file, _MIGRATIONS)
    # A killed process loses nothing. A power failure may lose the changes since the last checkpoint.
    database.execute("PRAGMA synchronous = OFF")
    # A fallback: `maintain` normally makes the checkpoints, off the event loop.
    database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    database.execute("PRAGMA busy_timeout = 0")
    return database
