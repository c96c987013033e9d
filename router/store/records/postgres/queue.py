"""The journal of records on their way to PostgreSQL, in a folder of their own for each database."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from router.errors import FileError
from router.store.records.journal import Destination, recover_segments
from router.store.records.postgres.address import Address
from router.store.records.postgres.records import PostgresRecords
from router.store.records.segment import segment_files


def destination(address: Address) -> Destination:
    """The database, as the destination of a journal."""
    return Destination(lambda: PostgresRecords.open(address), address.queue)


def open_records(folder: Path, address: Address) -> PostgresRecords | None:
    """The records in the database, with those that exited processes left in the journal in `folder`; None if there are
    none. Raises FileError.
    """
    queue = folder / address.queue
    try:
        left = segment_files(queue) if os.access(queue, os.W_OK) else []
        records = PostgresRecords.open_existing(address, create=bool(left))
        if records is not None and left:
            with contextlib.ExitStack() as on_failure:
                on_failure.push(records)
                recover_segments(queue, records)
                on_failure.pop_all()
    except OSError as error:
        raise FileError(str(queue), None, f"cannot be read: {error.strerror}") from None
    return records
