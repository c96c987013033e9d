"""How much the newest turn of a conversation depends on what went before it."""

from router.perceive.text.dependence.cue import DEPENDENT, INDEPENDENT, dependence

__all__ = ["DEPENDENT", "INDEPENDENT", "dependence"]
