"""Choose a card: flags and policies become limits and goals, by which the engine filters and ranks cards. Pure."""

from router.decide.engine import RequestContext, decide
from router.decide.flags import Flags, parse_flags
from router.decide.policy import Policies, Policy, load_policies

__all__ = ["Flags", "Policies", "Policy", "RequestContext", "decide", "load_policies", "parse_flags"]
