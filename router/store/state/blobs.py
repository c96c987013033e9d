"""Small pieces of state that several gateways change: each is replaced as a whole, by whoever saw its last version."""

from __future__ import annotations

from router.store.state.connection import RetryingConnection
from router.store.state.protocol import Blob

MIGRATION = (
    """
    CREATE TABLE blob (
        name TEXT PRIMARY KEY, version INTEGER NOT NULL, content BLOB NOT NULL, written_s INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX blob_version ON blob (version)",
)
KEEP_S = 90 * 86_400
_SWAP = """
    INSERT INTO blob (name, version, content, written_s)
    SELECT :name, (SELECT ifnull(max(version), 0) + 1 FROM blob), :content, :now
    WHERE :version = 0 OR EXISTS (SELECT 1 FROM blob WHERE name = :name)
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, content = excluded.content, written_s = :now
        WHERE version = :version
    RETURNING version
"""
_AFTER = "SELECT name, version, content FROM blob WHERE version > ? AND substr(name, 1, ?) = ? ORDER BY version"
# Not the newest: its version would be given out again.
_PRUNE = "DELETE FROM blob WHERE written_s < ? AND version < (SELECT max(version) FROM blob)"


def swap(database: RetryingConnection, blob: Blob, now_s: float) -> int:
    """See `StateStore.swap_blob`."""
    values = {"name": blob.name, "version": blob.version, "content": blob.content, "now": int(now_s)}
    rows = database.run(_SWAP, values)[1]
    return int(rows[0][0]) if rows else 0


def after(database: RetryingConnection, version: int, prefix: str) -> tuple[Blob, ...]:
    """See `StateStore.blobs_after`."""
    return tuple(Blob(*row) for row in database.run(_AFTER, (version, len(prefix), prefix))[1])


def prune(database: RetryingConnection, now_s: float) -> None:
    """Delete what was not written for long."""
    database.run(_PRUNE, (now_s - KEEP_S,))
