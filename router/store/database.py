"""A SQLite file: opened by several processes at once, brought up to date by numbered migrations."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from router.errors import FileError

BUSY_TIMEOUT_S = 10.0
"""How long a connection waits for another one that writes."""

# Five records fit into a page; into one of SQLite's usual size a single one would.
_PAGE_BYTES = 16_384
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)

Migrations = Sequence[Sequence[str]]
"""Statements that lead from one version to the next. Never changed once released; new ones go to the end."""


class ForeignDatabaseError(FileError):
    """The file is damaged, or another program or a newer release wrote it: waiting will not mend it."""


def open_database(file: Path, migrations: Migrations, *, read_only: bool = False) -> sqlite3.Connection:
    """Open `file`, make it where it is missing, and run the migrations that it lacks.

    The connection is in autocommit mode, and may pass from thread to thread as long as one uses it at a time. WAL lets
    others read while one writes; with `synchronous=NORMAL` a killed process loses nothing that was committed, a loss of
    power the last commits, and neither harms the file.

    Raises ForeignDatabaseError, or FileError where the file cannot be opened, or where it is of an earlier version and
    must not be written.
    """
    try:
        return _open(file, migrations, read_only)
    except sqlite3.Error as error:
        raise database_fault(file, error) from None


def database_fault(file: Path, error: sqlite3.Error) -> FileError:
    """`error` in words."""
    if is_damage(error):
        problem = f"is damaged or no database ({error}); move it away, and a new one will be made"
        return ForeignDatabaseError(str(file), None, problem)
    return FileError(str(file), None, f"cannot be used: {error}")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault."""
    return getattr(error, "sqlite_errorcode", None) in _DAMAGED


def _open(file: Path, migrations: Migrations, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        # Nobody else's business; the files that SQLite puts beside it are as this one. What fails here fails below too.
        # A file that exists is left alone: closing it would undo the locks of this process's other connections.
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
            # These two hold for a new file, and change nothing about an old one.
            database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            database.execute("PRAGMA auto_vacuum = INCREMENTAL")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        _migrate(database, file, migrations, read_only)
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: sqlite3.Connection, file: Path, migrations: Migrations, read_only: bool) -> None:
    version = _version(database, file, migrations)
    if version == len(migrations):
        return
    if read_only:
        problem = f"is of version {version}, this release reads version {len(migrations)}, and it must not be written"
        raise FileError(str(file), None, problem)
    with Transaction(database):
        # Another process may have been faster.
        for statements in migrations[_version(database, file, migrations) :]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(migrations)}")


def _version(database: sqlite3.Connection, file: Path, migrations: Migrations) -> int:
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        problem = f"is of version {version}, this release knows {len(migrations)}: a newer release wrote it"
        raise ForeignDatabaseError(str(file), None, problem)
    return version


class Transaction:
    """All statements inside happen, or none does. Waits for whoever else writes before the first, not in between."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._database.execute("COMMIT")
        elif self._database.in_transaction:
            self._database.execute("ROLLBACK")
