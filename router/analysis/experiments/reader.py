"""Read the outcomes of an experiment from the records, each once."""

from __future__ import annotations

import collections

from router.analysis.experiments.comparison import Experiment, Unit
from router.decide.trials.spec import ExperimentSpec
from router.errors import CallerError
from router.store.records.feedback import is_of_judge
from router.store.records.protocol import Filter, RecordStore
from router.store.records.record import Record

# Feedback is stored a moment after the time that it bears, by several workers.
_OVERLAP_S = 60.0
_MAX_RECENT = 20_000


class Reader:
    """Gives the units of an experiment that began at `began_s` to its comparison, as soon as they have enough outcomes.

    `several_keys`: no key alone decides.
    """

    def __init__(self, spec: ExperimentSpec, began_s: float, *, several_keys: bool) -> None:
        self.spec, self.began_s, self.several_keys = spec, began_s, several_keys
        weights = [arm.weight for arm in spec.arms]
        self.experiment = Experiment(
            weights,
            spec.stop.alpha,
            spec.stop.min_effect,
            several_keys=several_keys,
            bounded=spec.metric == "feedback",
        )
        self._arms = {arm.name: position for position, arm in enumerate(spec.arms)}
        # None where a unit is complete.
        self._open: dict[str, list[float] | None] = {}
        self._recent: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._since_s, self._number = began_s, 0

    def read(self, records: RecordStore) -> None:
        """Read what is new. Raises DatabaseError."""
        if self.spec.metric == "feedback":
            self._read_feedback(records)
        else:
            self._read_records(records)

    def _read_feedback(self, records: RecordStore) -> None:
        newest_s = self._since_s
        for given in records.scan_feedback(self._since_s - _OVERLAP_S):
            newest_s = max(newest_s, given.at)
            # Of several judgements of one answer, the first counts. A judge never judges its own model, so its verdicts
            # would be about the answers of some arms only, and on another scale than what people say.
            if given.record in self._recent or is_of_judge(given.source):
                continue
            self._recent[given.record] = None
            if len(self._recent) > _MAX_RECENT:
                self._recent.popitem(last=False)
            try:
                record = records.find(given.record)
            except CallerError:
                continue
            self.take(record, given.value)
        self._since_s = newest_s

    def _read_records(self, records: RecordStore) -> None:
        wanted = Filter(routed=True, since=self.began_s - _OVERLAP_S)
        while batch := records.added_after(self._number, wanted):
            self._number = batch[-1][0]
            for _, record in batch:
                value = self._value_of(record)
                if value is not None:
                    self.take(record, value)

    def _value_of(self, record: Record) -> float | None:
        outcome = record.outcome
        if outcome.card is None or outcome.status >= 400 or outcome.error is not None:
            return None
        return outcome.cost_usd if self.spec.metric == "cost" else outcome.total_ms

    def take(self, record: Record, value: float) -> None:
        """Take an outcome of a request, if it belongs to the experiment as it is now."""
        choice = None if record.decision is None else record.decision.experiment
        if choice is None or (choice.name, choice.version) != (self.spec.name, self.spec.version):
            return
        arm = self._arms.get(choice.arm)
        if arm is None:
            return
        unit = unit_of(self.spec, record.key or "", record.session or record.id)
        values = self._open.setdefault(f"{arm} {unit}", [])
        if values is None:
            return
        values.append(value)
        if len(values) >= self.spec.outcomes_needed:
            self._open[f"{arm} {unit}"] = None
            self.experiment.add(Unit(arm, sum(values) / len(values), record.key or ""))


def unit_of(spec: ExperimentSpec, key_id: str, conversation: str) -> str:
    """What has one arm: the key, or the conversation of the key. Without a key each conversation has one."""
    return key_id if spec.by == "key" and key_id else f"{key_id}\0{conversation}"
