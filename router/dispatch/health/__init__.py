"""Whether a deployment should be called now: its cooldowns and pauses, those of single keys, and its limits."""

from router.dispatch.health.breaker import Cooldown
from router.dispatch.health.evidence import FAILURE, Evidence, evidence_of, evidence_of_failure
from router.dispatch.health.health import Health, Ticket, Unready

__all__ = [
    "FAILURE",
    "Cooldown",
    "Evidence",
    "Health",
    "Ticket",
    "Unready",
    "evidence_of",
    "evidence_of_failure",
]
