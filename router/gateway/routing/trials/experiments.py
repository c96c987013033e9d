"""The experiments of a running gateway: which arm a request has, what is known of the arms, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import msgspec

from router.analysis.experiments.reader import Reader, unit_of
from router.analysis.experiments.standing import PREFIX, Standing, begun, ended, read, write
from router.decide.policy import Policy
from router.decide.trials.arms import with_card
from router.decide.trials.spec import ArmSpec, ExperimentSpec
from router.errors import PulvinarError
from router.gateway.config.keys import Key
from router.gateway.config.reload import ActiveConfig
from router.gateway.routing.trials.canaries import place_of
from router.pipeline import Routed
from router.store.records.protocol import RecordStore
from router.store.state.protocol import Blob, StateError, StateStore, blob_named
from router.trials import ExperimentChoice

_LOG = logging.getLogger(__name__)
_REFRESH_S, _CHECK_EVERY_S = 1.0, 15.0
# The state forgets what nobody writes for a long time.
_KEEP_EVERY_S = 86_400.0


class Experiments:
    """Assigns arms, and ends experiments. Which arm a key or a conversation has is a hash, so all workers agree.

    `read_records` opens the records, None without any: then an experiment never ends by itself. `notify` gets a line
    about each end, in one worker.
    """

    def __init__(
        self,
        store: StateStore,
        active: Callable[[], ActiveConfig],
        read_records: Callable[[], RecordStore | None] | None,
        clock: Callable[[], float] = time.time,
        notify: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._store, self._active, self._read_records = store, active, read_records
        self._clock, self._notify = clock, notify
        self._standings: dict[str, tuple[Blob, Standing]] = {}
        self._seen = 0
        self._readers: dict[str, Reader] = {}
        self._policies: tuple[ActiveConfig | None, dict[tuple[str, str], Policy]] = (None, {})

    def assigned(
        self, active: ActiveConfig, policy: Policy, key: Key | None, conversation: str
    ) -> tuple[Policy, ExperimentChoice | None]:
        """The policy that decides a request for `policy`, and its arm, None where it is part of no experiment."""
        spec = policy.experiment
        if spec is None or not all(_may_have(active, key, arm) for arm in spec.arms):
            return policy, None
        standing = self._standing(spec)
        if standing is not None and standing.stopped_s is not None:
            arm = next((arm for arm in spec.arms if arm.name == standing.goes_to), spec.arms[0])
            return self._policy_of(active, policy, arm), None
        key_id = "" if key is None else key.id
        arm = spec.arms[spec.arm_at(place_of(f"{spec.name}\0{spec.salt}", unit_of(spec, key_id, conversation), ""))]
        return self._policy_of(active, policy, arm), ExperimentChoice(spec.name, arm.name, spec.version)

    def standings(self) -> dict[str, Standing]:
        """How the present experiments stand, by name, as far as it is known."""
        found = {spec.name: self._standing(spec) for _, spec in self._present()}
        return {name: standing for name, standing in found.items() if standing is not None}

    @property
    def stopped(self) -> int:
        """How many of the present experiments have ended."""
        return sum(standing.stopped_s is not None for standing in self.standings().values())

    async def refresh(self) -> None:
        """Read what other workers know."""
        with contextlib.suppress(StateError):
            for blob in await self._store.blobs_after(self._seen, PREFIX):
                self._seen = max(self._seen, blob.version)
                self._note(blob)

    async def check(self) -> None:
        """Look at the outcomes of each experiment that no worker has looked at for a while."""
        for policy, spec in self._present():
            with contextlib.suppress(StateError):
                await self._check(policy.id, spec)

    async def run(self) -> None:
        """Refresh and check, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            if next(self._present(), None) is not None:
                await self.refresh()
                await self.check()

    async def _check(self, policy: str, spec: ExperimentSpec) -> None:
        now_s, standing = self._clock(), self._standing(spec)
        if standing is None:
            standing = begun(spec, policy, now_s)
        wait_s = _CHECK_EVERY_S if standing.stopped_s is None else _KEEP_EVERY_S
        if now_s - standing.checked_s < wait_s:
            return
        standing = msgspec.structs.replace(standing, checked_s=now_s)
        # Who writes this first looks at the outcomes.
        if not await self._write(spec, standing) or standing.stopped_s is not None:
            return
        known = await asyncio.to_thread(self._known, spec, standing)
        if known is not None and await self._write(spec, known) and known.stopped_s is not None:
            self._notify(f"experiment {spec.name} has ended, all requests go to {known.goes_to}: {known.why}")

    def _known(self, spec: ExperimentSpec, standing: Standing) -> Standing | None:
        """The standing with the outcomes that are in the records now."""
        several_keys = len(self._active().keys) > 1
        reader = self._readers.get(spec.name)
        if reader is None or (reader.spec, reader.began_s, reader.several_keys) != (
            spec,
            standing.began_s,
            several_keys,
        ):
            reader = self._readers[spec.name] = Reader(spec, standing.began_s, several_keys=several_keys)
        try:
            records = None if self._read_records is None else self._read_records()
            if records is None:
                return None
            with records:
                reader.read(records)
        except (PulvinarError, OSError) as error:
            _LOG.error("the outcomes of the experiment %s cannot be read: %s", spec.name, error)
            return None
        return ended(standing, spec, reader.experiment, self._clock())

    async def _write(self, spec: ExperimentSpec, standing: Standing) -> bool:
        """Store a standing unless another worker has changed it since."""
        name = f"{PREFIX}{spec.name}"
        known = self._standings.get(spec.name)
        blob = Blob(name, 0 if known is None else known[0].version, write(standing))
        version = await self._store.swap_blob(blob, self._clock())
        if version:
            self._note(msgspec.structs.replace(blob, version=version))
            return True
        # What is stored there is what counts; nothing at all where the state was emptied.
        self._standings.pop(spec.name, None)
        if (other := await blob_named(self._store, name)) is not None:
            self._note(other)
        return False

    def _note(self, blob: Blob) -> None:
        name = blob.name.removeprefix(PREFIX)
        known = self._standings.get(name)
        standing = read(blob.content)
        if standing is not None and (known is None or known[0].version < blob.version):
            self._standings[name] = blob, standing

    def _standing(self, spec: ExperimentSpec) -> Standing | None:
        """How the experiment stands as it is configured now."""
        known = self._standings.get(spec.name)
        return None if known is None or known[1].version != spec.version else known[1]

    def _present(self) -> Iterator[tuple[Policy, ExperimentSpec]]:
        for policy in self._active().router.policies.values():
            if policy.experiment is not None:
                yield policy, policy.experiment

    def _policy_of(self, active: ActiveConfig, policy: Policy, arm: ArmSpec) -> Policy:
        """The policy of an arm, the same object as long as the configuration is."""
        if arm.policy is not None:
            return active.router.policies.named(arm.policy)
        if self._policies[0] is not active:
            self._policies = active, {}
        known = self._policies[1]
        place = policy.id, arm.name
        if place not in known:
            known[place] = with_card(policy, arm.card or "")
        return known[place]


def in_arm(routed: Routed, choice: ExperimentChoice | None) -> Routed:
    """The decision with the arm that it belongs to, if it belongs to one."""
    if choice is None:
        return routed
    return msgspec.structs.replace(routed, decision=msgspec.structs.replace(routed.decision, experiment=choice))


def _may_have(active: ActiveConfig, key: Key | None, arm: ArmSpec) -> bool:
    """Whether the key may use what the arm names."""
    if key is None:
        return True
    if arm.policy is not None:
        return key.allows_policy(arm.policy)
    position = active.router.catalog.position(arm.card or "")
    return position is not None and active.router.catalog.ids[position] not in active.keys.denied(key)
