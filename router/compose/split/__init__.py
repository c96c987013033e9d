"""Split a composite prompt into its tasks. Pure: only the text decides."""

from router.compose.split.prompt import Segment, Split, split, split_prompt

__all__ = ["Segment", "Split", "split", "split_prompt"]
