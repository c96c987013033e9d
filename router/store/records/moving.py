"""Records from one database to another: everything is read back and compared, and nothing is deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from router.errors import CallerError, ConflictError
from router.store.records.feedback import FeedbackStore
from router.store.records.protocol import RecordArchive, RecordStore
from router.store.records.record import Record, Snapshot


class Moved(Struct):
    """What has been moved so far: `added` records are new in the other database, `present` ones were there already.

    `different` are the ids of those that are there with another content or not at all, such as one with an invalid
    time; `feedback` and `different_feedback` are judgements. `last` is the number of the last record of the source.
    """

    added: int = 0
    present: int = 0
    snapshots: int = 0
    feedback: int = 0
    different: list[str] = []
    different_feedback: list[str] = []
    last: int = 0
    last_id: str = ""


def move(
    source: RecordStore,
    target: RecordArchive,
    judgements: FeedbackStore,
    after: int,
    notify: Callable[[Moved], None],
) -> Moved:
    """Copy the records after number `after`, their snapshots, and all feedback, to `target` with `judgements`.

    `notify` is called after each batch, when it is in the other database. Raises DatabaseError; what was copied stays,
    and may be copied again.
    """
    moved, seen = Moved(last=after), set[str]()
    while batch := source.added_after(moved.last):
        records = [record for _, record in batch]
        snapshots = _snapshots_of(records, source, seen)
        before = target.last_number()
        target.add([*snapshots, *records], time.time())
        _compare(records, snapshots, target, before, moved)
        moved.last, moved.last_id = batch[-1][0], records[-1].id
        notify(moved)
    for given in source.scan_feedback():
        try:
            moved.feedback += judgements.add(given, of_any_key=True).is_new
        except (CallerError, ConflictError):
            moved.different_feedback.append(given.record)
    return moved


def _snapshots_of(records: Sequence[Record], source: RecordStore, seen: set[str]) -> list[Snapshot]:
    """Those that the records refer to, unless they are in `seen`, which grows."""
    named = {
        name
        for record in records
        if (decision := record.decision) is not None
        for name in (decision.catalogue, decision.policy_hash, decision.unavailable, decision.plans)
        if name
    }
    found = [(name, source.snapshot(name)) for name in sorted(named - seen)]
    seen |= named
    return [Snapshot(name, content) for name, content in found if content is not None]


def _compare(
    records: Sequence[Record], snapshots: Sequence[Snapshot], target: RecordArchive, before: int, moved: Moved
) -> None:
    """Read back what was added after record `before`, and what was there already."""
    new: dict[str, Record] = {}
    while batch := target.added_after(before):
        before = batch[-1][0]
        new |= {record.id: record for _, record in batch}
    for record in records:
        is_new = record.id in new
        if (new[record.id] if is_new else _found(target, record.id)) != record:
            moved.different.append(record.id)
        elif is_new:
            moved.added += 1
        else:
            moved.present += 1
    moved.snapshots += sum(target.snapshot(each.fingerprint) == each.content for each in snapshots)


def _found(target: RecordStore, name: str) -> Record | None:
    try:
        return target.find(name)
    except CallerError:
        return None
