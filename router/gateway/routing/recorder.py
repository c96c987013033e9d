"""From an exchange to its record."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.gateway.routing.selection import GatewayRequest, Selection
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots
from router.types import Outcome

_LONGEST_NAME = 200


class Recorder:
    """Makes records. `keep` takes in what many of them share, before the first that needs it."""

    def __init__(self, keep: Callable[[Snapshot], bool]) -> None:
        self._keep = keep
        self._snapshots: tuple[Snapshot, Snapshots] | None = None

    def record_of(
        self,
        id_: str,
        at: float,
        surface: str,
        asked: GatewayRequest | None,
        choice: Selection | None,
        outcome: Outcome,
    ) -> Record:
        """The record of one request, as far as it came."""
        if asked is None:
            return Record(id=id_, at=at, surface=surface, asked="", stream=False, outcome=outcome)
        model = asked.body.get("model")
        routed = None if choice is None else choice.routed
        return Record(
            id=id_,
            at=at,
            surface=surface,
            asked=model[:_LONGEST_NAME] if isinstance(model, str) else "",
            stream=asked.stream,
            outcome=outcome,
            key=None if asked.key is None else asked.key.id,
            session=None if choice is None else choice.session,
            decision=None if routed is None else self._snapshots_of(asked.loaded.catalogue).recorded(routed),
            prompt=msgspec.json.encode(asked.body) if asked.loaded.config.records.prompts else None,
        )

    def _snapshots_of(self, catalogue: Snapshot) -> Snapshots:
        if self._snapshots is None or self._snapshots[0] is not catalogue:
            self._snapshots = catalogue, Snapshots(catalogue, self._keep)
        return self._snapshots[1]
