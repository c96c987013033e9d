"""Builds the record of a request."""

from __future__ import annotations

from collections.abc import Callable

from router.formats.json import json_bytes
from router.gateway.routing.selection import GatewayRequest, Selection
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots
from router.types import Outcome

_MAX_NAME_LENGTH = 200


class Recorder:
    """Builds records. `store` saves a snapshot that many records refer to, before the first such record."""

    def __init__(self, store: Callable[[Snapshot], bool]) -> None:
        self._store = store
        self._snapshots: tuple[Snapshot, Snapshots] | None = None

    def record_of(
        self,
        id_: str,
        at: float,
        surface: str,
        request: GatewayRequest | None,
        selection: Selection | None,
        outcome: Outcome,
        client: str,
    ) -> Record:
        """Build the record of one request; `request` and `selection` are None if it failed before. `client` is the
        client's address.
        """
        if request is None:
            return Record(id=id_, at=at, surface=surface, asked="", stream=False, outcome=outcome, client=client)
        model = request.body.get("model")
        routed = None if selection is None else selection.routed
        return Record(
            id=id_,
            at=at,
            surface=surface,
            asked=model[:_MAX_NAME_LENGTH] if isinstance(model, str) else "",
            stream=request.stream,
            outcome=outcome,
            key=None if request.key is None else request.key.id,
            session=None if selection is None or selection.identity is None else selection.identity.session,
            decision=None if routed is None else self._snapshots_of(request.active.catalogue).decision_record(routed),
            prompt=json_bytes(request.body) if request.active.config.records.prompts else None,
            client=client,
        )

    def _snapshots_of(self, catalogue: Snapshot) -> Snapshots:
        if self._snapshots is None or self._snapshots[0] is not catalogue:
            self._snapshots = catalogue, Snapshots(catalogue, self._store)
        return self._snapshots[1]
