"""Run plans: one module for each kind, over what they share: the calls, what they cost, what the client sees."""

from router.compose.run.brief import Brief, Forecasts
from router.compose.run.interpreter import compose
from router.compose.run.ledger import Ledger

__all__ = ["Brief", "Forecasts", "Ledger", "compose"]
