"""Routing data sets: prompts, model outcomes, costs, published model facts, and cached feature vectors."""

from router.learn.data.prompts import Prompt, read_prompts
from router.learn.data.routing_set import (
    ASSUMED_OUTPUT_TOKENS,
    RoutingSet,
    join,
    load_set,
    read_aliases,
    read_ids,
    restrict,
)

__all__ = [
    "ASSUMED_OUTPUT_TOKENS",
    "Prompt",
    "RoutingSet",
    "join",
    "load_set",
    "read_aliases",
    "read_ids",
    "read_prompts",
    "restrict",
]
