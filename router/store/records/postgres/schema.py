"""The schema `pulvinar` of a database: numbered migrations, which are plain SQL files, and partitions for days."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Collection
from importlib import resources
from typing import Any

from router import __version__
from router.store.database import ForeignDatabaseError
from router.store.records.postgres.connection import SCHEMA, Connection

DAY_S = 86_400
LOCKS = {"schema": 0x70756C0001, "partitions": 0x70756C0002, "numbers": 0x70756C0003}
"""The keys of advisory locks: migrations, the creation and deletion of partitions, and the insertion of records."""

_EPOCH = datetime.date(1970, 1, 1)
# Not to_regclass or to_regnamespace: after waiting for a lock, these may not see yet what the other process created.
_HAS_SCHEMA = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)"
_HAS_TABLE = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = $2)"


@functools.cache
def migrations() -> tuple[str, ...]:
    """The SQL of every migration, in their order. Released ones never change; new ones are added with the next number.

    Raises ValueError where a number is missing.
    """
    files = sorted(
        (file for file in resources.files(__package__).joinpath("migrations").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    for position, file in enumerate(files, 1):
        if file.name.partition("_")[0] != f"{position:04}":
            raise ValueError(f"migration {position:04} is missing before {file.name}")
    return tuple(file.read_text(encoding="utf-8") for file in files)


def prepare(connection: Connection, *, create: bool = True) -> bool:
    """Bring the schema up to date, once for each connection. Returns False where there is none and `create` is not set.

    Several processes may do this at once: one does, the others wait. Raises ForeignDatabaseError where a newer release
    wrote the schema, or DatabaseError.
    """
    if connection.is_prepared:
        return True
    version = connection.run(_version(connection.raw))
    if version is None and not create:
        return False
    if version != len(migrations()):
        _refuse_newer(connection, version)
        # No limit: a later migration may have to read all records.
        connection.run(_migrate(connection), None)
    connection.is_prepared = True
    return True


async def _version(raw: Any) -> int | None:
    if not await raw.fetchval(_HAS_TABLE, SCHEMA, "migrations"):
        return None
    return int(await raw.fetchval(f"SELECT coalesce(max(version), 0) FROM {SCHEMA}.migrations"))


async def _migrate(connection: Connection) -> None:
    raw = connection.raw
    async with raw.transaction():
        await lock(raw, "schema")
        # Another process may have run them since.
        version = await _version(raw)
        if version is None:
            await _create(connection)
        _refuse_newer(connection, version)
        for number, script in enumerate(migrations()[version or 0 :], (version or 0) + 1):
            await raw.execute(script)
            await raw.execute("INSERT INTO migrations VALUES ($1, now(), $2)", number, __version__)


async def _create(connection: Connection) -> None:
    raw = connection.raw
    encoding = await raw.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        problem = f"has the encoding {encoding}; create the database with ENCODING 'UTF8'"
        raise ForeignDatabaseError(connection.address.shown, None, problem)
    # A user who may not create schemas can be given an empty one.
    if not await raw.fetchval(_HAS_SCHEMA, SCHEMA):
        await raw.execute(f"CREATE SCHEMA {SCHEMA}")
    columns = "version integer PRIMARY KEY, at timestamptz NOT NULL, release text NOT NULL"
    await raw.execute(f"CREATE TABLE {SCHEMA}.migrations ({columns})")


def _refuse_newer(connection: Connection, version: int | None) -> None:
    if version is not None and version > len(migrations()):
        problem = f"has version {version}, this release supports up to {len(migrations())}: a newer release wrote it"
        raise ForeignDatabaseError(connection.address.shown, None, problem)


async def lock(raw: Any, name: str) -> None:
    """Take an advisory lock until the end of the transaction."""
    await raw.execute("SELECT pg_advisory_xact_lock($1)", LOCKS[name])


def day_of(at_s: float) -> int:
    """The number of the day (UTC) since 1970. Raises OverflowError for what is no time."""
    return int(at_s // DAY_S)


def name_of(day: int) -> str:
    """The name of the day's partition. Raises OverflowError beyond the calendar."""
    return f"records_{(_EPOCH + datetime.timedelta(day)).strftime('%Y%m%d')}"


async def create_partitions(raw: Any, days: Collection[int]) -> None:
    """Create the partitions of these days where they are missing. Insertion into others goes on meanwhile."""
    async with raw.transaction():
        await lock(raw, "partitions")
        for day in sorted(days):
            name = name_of(day)
            if await raw.fetchval(_HAS_TABLE, SCHEMA, name):
                continue
            # Attached, not created in place: that would lock out readers of all days.
            await raw.execute(f"CREATE TABLE {SCHEMA}.{name} (LIKE records INCLUDING STORAGE)")
            # An index of the parent would have to contain `at`; this way an id is there once a day.
            await raw.execute(f"CREATE UNIQUE INDEX ON {SCHEMA}.{name} (id)")
            start_s, end_s = day * DAY_S, (day + 1) * DAY_S
            bounds = f"FOR VALUES FROM ({start_s}) TO ({end_s})"
            await raw.execute(f"ALTER TABLE records ATTACH PARTITION {SCHEMA}.{name} {bounds}")


async def partitions(raw: Any) -> list[int]:
    """The days that have a partition, oldest first."""
    sql = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = $1::regclass"
    names = [row[0].removeprefix("records_") for row in await raw.fetch(sql, f"{SCHEMA}.records")]
    days = [datetime.datetime.strptime(name, "%Y%m%d").replace(tzinfo=datetime.UTC).date() for name in names]
    return sorted((day - _EPOCH).days for day in days)
