"""What has changed: the answers of cards, the prompts of days, and groups of prompts that are new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from router.gateway.config.reload import ActiveConfig
from router.gateway.learning.drift import DriftWatch
from router.store.records.protocol import RecordStore
from router.store.records.snapshots import CatalogSnapshot
from router.store.records.totals import DAY_S

if TYPE_CHECKING:
    from router.analysis.drift.traffic import DayTest
    from router.analysis.gaps import Gaps


def cards(watch: DriftWatch) -> dict[str, Any]:
    """The alarms about cards, the newest first, how right the forecasts are, and how many answers were judged."""
    from router.analysis.drift.calibration import calibration_of
    from router.analysis.drift.judged import advice

    drifts = watch.present()
    alarms = [(card, alarm) for card, drift in drifts.items() for alarm in drift.alarms]
    alarms.sort(key=lambda pair: (not pair[1].is_open, -pair[1].raised_s, pair[0]))
    calibrations = ((card, calibration_of(drift.bins)) for card, drift in sorted(drifts.items()))
    return {
        "judged": sum(drift.judged for drift in drifts.values()),
        "alarms": [
            {
                "card": card,
                **msgspec.structs.asdict(alarm),
                "judgements_a_false_alarm": alarm.judgements_a_false_alarm,
                "advice": advice(card, alarm),
            }
            for card, alarm in alarms
        ],
        "calibration": [{"card": card, **msgspec.to_builtins(each)} for card, each in calibrations if each is not None],
    }


def days(records: RecordStore, since_s: float, until_s: float, active: ActiveConfig) -> list[DayTest]:
    """How the prompts of each day of this time differ from those of the days before it."""
    from router.analysis.drift.traffic import REFERENCE_DAYS, compared_days, read_days

    return compared_days(read_days(records, since_s - REFERENCE_DAYS * DAY_S, until_s, active.router.predictor))


def gaps(records: RecordStore, since_s: float, until_s: float, active: ActiveConfig) -> Gaps:
    """The groups of novel prompts of this time."""
    from router.analysis.gaps import gaps_of

    router = active.router
    return gaps_of(records, since_s, until_s, CatalogSnapshot(router.catalog, router.evidence), router.predictor)
