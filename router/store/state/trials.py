"""The trials of canaries in the shared state: how many answers each of the two cards gave, and how many were bad."""

from __future__ import annotations

from router.store.state.connection import RetryingConnection
from router.store.state.protocol import TrialCounts

MIGRATION = (
    """
    CREATE TABLE trial (
        card TEXT NOT NULL,
        of TEXT NOT NULL,
        new INTEGER NOT NULL DEFAULT 0,
        new_bad INTEGER NOT NULL DEFAULT 0,
        old INTEGER NOT NULL DEFAULT 0,
        old_bad INTEGER NOT NULL DEFAULT 0,
        stopped TEXT NOT NULL DEFAULT '',
        stopped_s INTEGER,
        PRIMARY KEY (card, of)
    ) WITHOUT ROWID
    """,
)
MIGRATION_KEYS = (
    """
    CREATE TABLE trial_key (
        card TEXT NOT NULL,
        of TEXT NOT NULL,
        key TEXT NOT NULL,
        new INTEGER NOT NULL DEFAULT 0,
        new_bad INTEGER NOT NULL DEFAULT 0,
        old INTEGER NOT NULL DEFAULT 0,
        old_bad INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (card, of, key)
    ) WITHOUT ROWID
    """,
)
_COLUMNS = "card, of, new, new_bad, old, old_bad, stopped, stopped_s"
_COUNT = f"""
    INSERT INTO trial (card, of, new, new_bad, old, old_bad) VALUES (:card, :of, :new, :new_bad, :old, :old_bad)
    ON CONFLICT DO UPDATE SET new = new + :new, new_bad = new_bad + :new_bad, old = old + :old,
        old_bad = old_bad + :old_bad
    RETURNING {_COLUMNS}
"""
_COUNT_KEY = """
    INSERT INTO trial_key (card, of, key, new, new_bad, old, old_bad)
    VALUES (:card, :of, :key, :new, :new_bad, :old, :old_bad)
    ON CONFLICT DO UPDATE SET new = new + :new, new_bad = new_bad + :new_bad, old = old + :old,
        old_bad = old_bad + :old_bad
"""
_STOP = """
    INSERT INTO trial (card, of, stopped, stopped_s) VALUES (:card, :of, :why, :now)
    ON CONFLICT DO UPDATE SET stopped = :why, stopped_s = :now WHERE stopped = ''
"""


def count(
    database: RetryingConnection, trial: tuple[str, str], *, is_new: bool, is_bad: bool, key_id: str
) -> TrialCounts:
    """Count one answer to a key, and return the counts of all keys."""
    card, of = trial
    values = {
        "card": card,
        "of": of,
        "new": int(is_new),
        "new_bad": int(is_new and is_bad),
        "old": int(not is_new),
        "old_bad": int(is_bad and not is_new),
    }
    database.run(_COUNT_KEY, {**values, "key": key_id})
    return TrialCounts(*database.run(_COUNT, values)[1][0])


def by_key(database: RetryingConnection, trial: tuple[str, str]) -> tuple[TrialCounts, ...]:
    """The counts of each key."""
    columns = "card, of, new, new_bad, old, old_bad"
    rows = database.run(f"SELECT {columns} FROM trial_key WHERE card = ? AND of = ?", trial)[1]
    return tuple(TrialCounts(*row) for row in rows)


def stop(database: RetryingConnection, trial: tuple[str, str], why: str, now_s: float) -> bool:
    """Roll the canary back. False where that has been done already."""
    return database.run(_STOP, {"card": trial[0], "of": trial[1], "why": why, "now": int(now_s)})[0] > 0


def forget(database: RetryingConnection, trial: tuple[str, str]) -> None:
    """Begin the trial again."""
    for table in ("trial", "trial_key"):
        database.run(f"DELETE FROM {table} WHERE card = ? AND of = ?", trial)


def all_trials(database: RetryingConnection) -> tuple[TrialCounts, ...]:
    """All trials, by the ids of their cards."""
    return tuple(TrialCounts(*row) for row in database.run(f"SELECT {_COLUMNS} FROM trial ORDER BY card, of", ())[1])
