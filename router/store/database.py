"""SQLite files: several processes open one at once, and numbered migrations bring it up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from router.errors import FileError

BUSY_TIMEOUT_S = 10.0
"""How long a connection waits for another connection's write lock."""

BUSY = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_LOCKED}
)
"""The error codes where another connection holds a lock, so that a later attempt may succeed."""

# Five records fit into a page of this size; SQLite's default page holds a single one.
_PAGE_BYTES = 16_384
_RETRY_S = 0.01
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)

Migrations = Sequence[Sequence[str]]
"""The SQL statements that lead from each version to the next. Released migrations never change; new ones are added at
the end.
"""


class DatabaseError(FileError):
    """The database cannot be opened, read or written. A later attempt may succeed."""


class ForeignDatabaseError(DatabaseError):
    """The file is damaged, or another program or a newer release wrote it. A later attempt will fail too."""


def open_database(file: Path, migrations: Migrations, *, read_only: bool = False) -> sqlite3.Connection:
    """Open `file`, create it if it does not exist, and run its outstanding migrations.

    The connection is in autocommit mode. Threads may share it if they use it one at a time. WAL lets other connections
    read during a write. With `synchronous=NORMAL` a killed process loses no committed transaction; a power failure may
    lose the last ones, but does not damage the file.

    Raises ForeignDatabaseError, or DatabaseError if the file cannot be opened, or if `read_only` is set and the file
    has an older version.
    """
    with database_errors(file):
        return _open(file, migrations, read_only)


@contextlib.contextmanager
def database_errors(file: Path) -> Iterator[None]:
    """Raise every sqlite3.Error inside the block as a DatabaseError about `file`."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            problem = f"is damaged or not a database ({error}); move it away, and a new one will be created"
            raise ForeignDatabaseError(str(file), None, problem) from None
        raise DatabaseError(str(file), None, f"cannot be used: {error}") from None


def _open(file: Path, migrations: Migrations, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        # Only the owner may read the file; SQLite gives its companion files the same mode. An error here also occurs
        # below. An existing file must not be opened here: closing it would release the POSIX locks that other
        # connections of this process hold on it.
        with contextlib.suppress(OSError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    mode = "ro" if read_only else "rwc"
    database = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if not read_only:
            # These two take effect in a new file only.
            database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _switch_to_wal(database)
            database.execute("PRAGMA synchronous = NORMAL")
        _migrate(database, file, migrations, read_only)
    except BaseException:
        database.close()
        raise
    return database


def _switch_to_wal(database: sqlite3.Connection) -> None:
    """Nothing happens in a file that is in this mode already."""
    deadline_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Where another process creates the file at this moment, SQLite does not wait for it by itself.
            if error.sqlite_errorcode not in BUSY or time.monotonic() >= deadline_s:
                raise
        time.sleep(_RETRY_S)


def _migrate(database: sqlite3.Connection, file: Path, migrations: Migrations, read_only: bool) -> None:
    version = _version(database, file, migrations)
    if version == len(migrations):
        return
    if read_only:
        problem = f"has version {version}, this release reads version {len(migrations)}, and the file is read-only"
        raise DatabaseError(str(file), None, problem)
    with Transaction(database):
        # Another process may have run them since.
        for statements in migrations[_version(database, file, migrations) :]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(database: sqlite3.Connection, file: Path, migrations: Migrations) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        problem = f"has version {version}, this release supports up to {len(migrations)}: a newer release wrote it"
        raise ForeignDatabaseError(str(file), None, problem)
    return version


class Transaction:
    """Commits all statements of the block, or none. Takes the write lock at the start, so it waits only there."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            # A commit that failed, for want of space perhaps, leaves the transaction open.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
