"""Where commands read records: options, and the store that they choose."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from router import settings

if TYPE_CHECKING:
    from router.store.backend import Backend
    from router.store.records.protocol import RecordStore

Store = Annotated[
    str | None,
    typer.Option(
        "--store", help="Folder or URL of the records.", show_default="PULVINAR_STORE, else the user's state folder"
    ),
]


def backend_of(store: str | None, records_url: str | None) -> Backend:
    """Where the records are: in the database that is stated, or else in the folder that is, or else the default one."""
    from router.store import open_store

    if records_url is None and store is None:
        records_url = settings.default_records()
    return open_store(store or settings.default_store(), records=records_url)


def read_records(store: str | None, records_url: str | None) -> RecordStore | None:
    """The records in these places, or in the default ones. If there are none, print so and return None."""
    backend = backend_of(store, records_url)
    records = backend.read_records()
    if records is not None and records.last_number():
        return records
    typer.echo(f"no records in {backend.records_place} yet: `route serve` writes them", err=True)
    return None


def wait_for_records(store: str | None, records_url: str | None, poll_s: float) -> RecordStore:
    """The records in these places, once there is a store, which may still be empty."""
    backend = backend_of(store, records_url)
    while (records := backend.read_records()) is None:
        time.sleep(poll_s)
    return records
