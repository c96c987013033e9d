"""The learned gate: how likely answers are right, and what one more would gain, by weights from `route train --plans`.

A gate is fitted over many models at once and knows none of them, so it applies to cards that it has never seen.
"""

from router.compose.learned.file import GATE_FILE, ClosedForms, GateFile, LearnedFrom, load_gate, save_gate
from router.compose.learned.gate import LearnedGate
from router.compose.learned.rule import COUNTS, GateWeights, Observed, Rule

__all__ = [
    "COUNTS",
    "GATE_FILE",
    "ClosedForms",
    "GateFile",
    "GateWeights",
    "LearnedFrom",
    "LearnedGate",
    "Observed",
    "Rule",
    "load_gate",
    "save_gate",
]
