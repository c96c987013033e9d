"""What `/metrics` reads from a gateway whenever it is asked, rather than counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.gateway.worker import Gateway


def polled_metrics(gateway: Gateway) -> Mapping[str, Callable[[], float]]:
    """The callbacks by name. They are called once the gateway is complete."""
    callbacks: dict[str, Callable[[], float]] = {
        "in_flight": lambda: gateway.admission.running,
        "queued": lambda: gateway.waiting,
        "cooling": lambda: len(gateway.dispatcher.pool.cooling_down()),
        "callable": lambda: gateway.availability.callable_cards,
        "limits_ok": lambda: gateway.limits_problem is None,
        "canaries_stopped": lambda: gateway.canaries.stopped,
        "experiments_stopped": lambda: gateway.experiments.stopped,
        "cards_corrected": lambda: gateway.memories.applied,
        "artifact_rolled_back": lambda: gateway.promoted.is_rolled_back,
        "drift_alarms": lambda: len(gateway.drift.alarms),
        "prompts_changed": lambda: len(gateway.traffic.latest or ()) > 0,
        "judgements_waiting": lambda: gateway.learner.waiting + gateway.judges.waiting,
        "config_version": lambda: gateway.reloader.current.number,
        "config_ok": lambda: gateway.reloader.problem is None,
    }
    if gateway.remote is not None:
        report = gateway.remote.report
        callbacks |= {
            "state_reachable": lambda: report().reachable,
            "state_denied": lambda: len(report().denied),
            "state_failures": lambda: report().failures,
            "state_alone": lambda: report().alone,
            "state_waiting": lambda: report().waiting,
        }
    if gateway.journal is not None:
        journal = gateway.journal
        callbacks["records_dropped"] = lambda: journal.dropped
        callbacks["records_ok"] = lambda: journal.problem is None
        callbacks["records_waiting"] = lambda: journal.waiting_bytes
    if gateway.access_log is not None:
        log = gateway.access_log
        callbacks["log_dropped"] = lambda: log.dropped
    return callbacks
