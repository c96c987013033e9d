"""`route records move`: copy the records of one store to another, and compare."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router import settings
from router.errors import CallerError

if TYPE_CHECKING:
    from router.store.backend import Backend
    from router.store.records.moving import Moved
    from router.store.records.protocol import RecordStore

_SHOWN = 3


def register(parent: typer.Typer) -> None:
    """Add the command."""
    parent.command("move")(move)


def move(
    source: Annotated[str, typer.Option("--from", help="Store to read: a folder, or the URL of a database.")],
    target: Annotated[str, typer.Option("--to", help="Store to write to: a folder, or the URL of a database.")],
) -> None:
    """Copy all records, what they refer to, and their feedback to another store, and compare what is there then.

    Nothing is deleted. If it is interrupted, the same command continues; what is there already is not added again.
    """
    from router.store.records.moving import move as run

    old, new = _backend(source), _backend(target)
    if old.records_place == new.records_place:
        raise CallerError(f"--from and --to are the same store: {old.records_place}")
    records = old.read_records()
    if records is None or not records.last_number():
        raise CallerError(f"there are no records in {old.records_place}")
    mark = _Mark(old, new)
    with records, new.archive() as archive, new.feedback() as judgements:
        after = mark.read(archive)
        if after:
            typer.echo(f"continuing after the {after:,} records that an earlier call has moved", err=True)
        moved = run(records, archive, judgements, after, mark.write)
    mark.file.unlink(missing_ok=True)
    _print(moved, old, new)
    if moved.different or moved.different_feedback:
        raise typer.Exit(1)


def _backend(where: str) -> Backend:
    from router.store import open_store

    is_database = "://" in where and not where.lower().startswith("sqlite:")
    return open_store(settings.default_store(), records=where) if is_database else open_store(where)


class _Mark:
    """A file that says how far an interrupted call has come."""

    def __init__(self, old: Backend, new: Backend) -> None:
        places = f"{_absolute(old.records_place)}\n{_absolute(new.records_place)}"
        name = hashlib.blake2b(places.encode(), digest_size=8).hexdigest()
        self.file = settings.cache_folder() / "moves" / name

    def read(self, archive: RecordStore) -> int:
        """The number of the last record that was moved, if it is still there; else 0."""
        try:
            number, _, id_ = self.file.read_text("utf-8").partition(" ")
            return int(number) if archive.find(id_).id == id_ else 0
        except (OSError, ValueError, CallerError):
            return 0

    def write(self, moved: Moved) -> None:
        """Note it, and say it."""
        from router.formats.files import replace_file

        # Records that are not the same must be found again by the next call.
        if not moved.different:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, f"{moved.last} {moved.last_id}".encode())
        typer.echo(f"{moved.added + moved.present + len(moved.different):,} records", err=True)


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _print(moved: Moved, old: Backend, new: Backend) -> None:
    typer.echo(f"from {old.records_place} to {new.records_place}:")
    typer.echo(f"{moved.added:,} records were added, {moved.present:,} were there already")
    typer.echo(f"{moved.snapshots:,} snapshots and {moved.feedback:,} judgements were added or renewed")
    for what, ids in (("records", moved.different), ("judgements", moved.different_feedback)):
        if ids:
            examples = ", ".join(ids[:_SHOWN]) + (" …" if len(ids) > _SHOWN else "")
            typer.echo(f"{len(ids):,} {what} are not there, or not the same: {examples}")
    if not moved.different and not moved.different_feedback:
        typer.echo("each was read back and is the same; nothing was deleted")
