"""The outcomes of an experiment, read from records."""

from __future__ import annotations

from pathlib import Path

import msgspec

from router.analysis.experiments.reader import Reader
from router.decide.trials.spec import ArmSpec, ExperimentSpec
from router.store.records.feedback import Feedback
from router.store.records.record import Record
from router.store.records.sqlite import SqliteRecords
from router.store.records.sqlite_feedback import SqliteFeedback
from router.trials import ExperimentChoice
from tests.gateway.telemetry.records import DECISION, a_record

SPEC = ExperimentSpec("try", (ArmSpec(policy="default"), ArmSpec(policy="cheap")), outcomes=2)


def asked(id_: str, key: str, arm: str = "cheap", spec: ExperimentSpec = SPEC, **changes: object) -> Record:
    choice = ExperimentChoice(spec.name, arm, spec.version)
    decision = msgspec.structs.replace(DECISION, experiment=choice)
    return a_record(id=id_, at=100.0, key=key, decision=decision, **changes)


def test_a_key_counts_once_with_the_mean_of_its_first_outcomes(tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records, SqliteFeedback.open(tmp_path) as feedback:
        records.add([asked(f"r{number}", "ann") for number in range(4)], 1.0)
        records.add([asked("other", "bob", spec=msgspec.structs.replace(SPEC, salt="before"))], 1.0)
        reader = Reader(SPEC, 100.0, several_keys=True)
        feedback.add(Feedback("r0", 1.0, 100.0, key="ann"))
        # Another source about the same answer is no further outcome.
        feedback.add(Feedback("r0", 0.0, 100.1, source="second", key="ann"))
        feedback.add(Feedback("other", 0.0, 100.2, key="bob"))
        reader.read(records)
        assert reader.experiment.units == 0
        for number, value in ((1, 0.0), (2, 0.0), (3, 0.0)):
            feedback.add(Feedback(f"r{number}", value, 101.0 + number, key="ann"))
        reader.read(records)
        reader.read(records)
    assert [(arm.units, arm.mean) for arm in reader.experiment.arms()] == [(0, None), (1, 0.5)]


def test_the_verdict_of_a_judge_is_no_outcome_and_hides_none(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, outcomes=1)
    with SqliteRecords.open(tmp_path) as records, SqliteFeedback.open(tmp_path) as feedback:
        records.add([asked("r0", "ann", spec=spec), asked("r1", "bob", spec=spec)], 1.0)
        feedback.add(Feedback("r0", 0.25, 100.0, source="judge"), of_any_key=True)
        feedback.add(Feedback("r1", 0.25, 100.0, source="judge:haiku"), of_any_key=True)
        feedback.add(Feedback("r0", 1.0, 101.0, key="ann"))
        reader = Reader(spec, 100.0, several_keys=True)
        reader.read(records)
    assert [(arm.units, arm.mean) for arm in reader.experiment.arms()] == [(0, None), (1, 1.0)]


def test_costs_of_answers_without_an_error_are_outcomes(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(SPEC, metric="cost", by="conversation", outcomes=1)
    answers = [
        asked("r0", "ann", "default", spec, session="one", cost_usd=0.25),
        asked("r1", "ann", "default", spec, session="one", cost_usd=0.5),
        asked("r2", "ann", "cheap", spec, session="two", cost_usd=0.125),
        asked("r3", "ann", "cheap", spec, session="three", cost_usd=0.5, status=500),
    ]
    with SqliteRecords.open(tmp_path) as records:
        records.add(answers, 1.0)
        reader = Reader(spec, 100.0, several_keys=False)
        reader.read(records)
        reader.read(records)
    assert [(arm.units, arm.mean) for arm in reader.experiment.arms()] == [(1, 0.25), (1, 0.125)]
