"""The interfaces of the record store: a sink that the gateway writes to, a store that commands read from, and an
archive that the sink moves its records to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Iterator, Sequence
from typing import Protocol, Self

from msgspec import Struct

from router.store.records.feedback import Feedback
from router.store.records.record import Record, Snapshot
from router.store.records.totals import Grouping, Totals


class Filter(Struct, frozen=True):
    """Which records to select; all conditions must hold.

    `card` is the card that answered, `key` the id of the client's key. `errors` selects failed requests, `routed`
    requests with a decision, `shadows` answers for nobody. `since` (inclusive) and `until` (exclusive) are in seconds
    since 1970. `before` is the id of a record, and selects those that are older: of several at the same time,
    those that were added before it. Where there is no such record, nothing is selected.
    """

    card: str | None = None
    key: str | None = None
    errors: bool = False
    routed: bool = False
    shadows: bool = False
    since: float | None = None
    until: float | None = None
    before: str | None = None


EVERYTHING = Filter()
"""The filter that selects all records."""


class RecordSink(Protocol):
    """Where a gateway worker writes its records. No method raises: a failing disk must not fail a request."""

    keep_days: float | None
    """The age at which records are deleted; None for never. It may be changed at any time."""

    @property
    def dropped(self) -> int:
        """How many records could not be written."""

    @property
    def problem(self) -> str | None:
        """Why records cannot be moved to the database at present, and wait in the journal; None if they can."""

    @property
    def waiting_bytes(self) -> int:
        """The size of the records that wait in the journal."""

    def append(self, record: Record) -> Awaitable[None] | None:
        """Write `record`. On return, or once what it returns is awaited, the record survives the process, or is counted
        in `dropped`.
        """

    def keep(self, snapshot: Snapshot) -> bool:
        """Write `snapshot` before the records that refer to it. Returns whether it was written."""

    def close(self) -> None:
        """Finish pending writes and close all files."""


class RecordStore(Protocol):
    """Where records are read from. Every method but `close` raises DatabaseError if the store cannot be read."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Close the connection."""

    def tail(self, limit: int, wanted: Filter = EVERYTHING, *, prompts: bool = True) -> list[Record]:
        """The newest records, oldest first; their prompts, which may be large, only where `prompts`."""

    def last_number(self) -> int:
        """The number of the record that was added last; 0 if there are no records."""

    def added_after(self, number: int, wanted: Filter = EVERYTHING) -> list[tuple[int, Record]]:
        """A batch of records added after record `number`, in the order of insertion, each with its own number."""

    def find(self, prefix: str) -> Record:
        """The record whose id is `prefix` or is the only one to begin with it. Raises CallerError."""

    def scan(self, wanted: Filter = EVERYTHING) -> Iterator[Record]:
        """All records, oldest first, without their prompts. Records added meanwhile may be included."""

    def feedback_of(self, record: str) -> list[Feedback]:
        """All feedback about the request with this id, oldest first."""

    def scan_feedback(self, since_s: float | None = None) -> Iterator[Feedback]:
        """All feedback given since then, in seconds since 1970, oldest first."""

    def judged(self, limit: int, since_s: float) -> list[tuple[Feedback, Record]]:
        """The newest feedback since then, newest first, each with the record that it is about, without its prompt, but
        with the vector of its decision.
        """

    def totals(self, by: Sequence[Grouping], since_s: float, until_s: float, surfaces: Collection[str]) -> list[Totals]:
        """The totals of the hours that begin in this time, of these surfaces, in groups that agree in all of `by`.

        They are sorted by their groups.
        """

    def snapshot(self, fingerprint: str) -> bytes | None:
        """The content of a snapshot; None if it is not stored."""


class RecordArchive(RecordStore, Protocol):
    """A database of records. Its methods raise DatabaseError where it cannot be used."""

    def add(self, entries: Iterable[Record | Snapshot], now_s: float) -> int:
        """Insert `entries`, except those already stored. Returns how many the database rejected.

        An error may leave a part of them stored: the same entries can be added again.
        """

    def prune(self, before_s: float) -> bool:
        """Delete some of the records older than `before_s`, their feedback, and old snapshots and totals. Returns
        whether there may be more.
        """

    def is_current(self) -> bool:
        """Whether this connection still leads to the database; if not, it must be opened again."""
