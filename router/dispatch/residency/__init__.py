"""Which adapter is loaded on which server: the policy, without clock, network or randomness.

The gateway (`router.dispatch.lora`) and the simulator (`bench.residency`) run the same code; times are arguments.
"""

from router.dispatch.residency.elsewhere import Usage
from router.dispatch.residency.fairness import TokenCounters
from router.dispatch.residency.placement import ServerLoad
from router.dispatch.residency.state import Residency
from router.dispatch.residency.steps import AdapterResidency, Full, Load, Ready, ServerResidency, Step

__all__ = [
    "AdapterResidency",
    "Full",
    "Load",
    "Ready",
    "Residency",
    "ServerLoad",
    "ServerResidency",
    "Step",
    "TokenCounters",
    "Usage",
]
