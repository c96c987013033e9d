"""Onboarding: estimate the ability of a card by asking its live endpoint probes, within a budget."""

from router.learn.onboarding.evidence_log import EvidenceLog, earlier_outcomes, set_aside
from router.learn.onboarding.plan import Outlook, PlannedProbe, Terms, check_callable, outlook, plan_probes
from router.learn.onboarding.probes import Probe, ProbeSet, load_probes
from router.learn.onboarding.result import Change, OnboardingResult, Progress
from router.learn.onboarding.session import onboard, start_test

__all__ = [
    "Change",
    "EvidenceLog",
    "OnboardingResult",
    "Outlook",
    "PlannedProbe",
    "Probe",
    "ProbeSet",
    "Progress",
    "Terms",
    "check_callable",
    "earlier_outcomes",
    "load_probes",
    "onboard",
    "outlook",
    "plan_probes",
    "set_aside",
    "start_test",
]
