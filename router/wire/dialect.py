"""What one upstream's chat completions take and another's refuse."""

from __future__ import annotations

from msgspec import Struct


class Dialect(Struct, frozen=True):
    """How an upstream's chat completions differ from the common core.

    `cache_control`: Anthropic's cache marks may stay where the client put them. `completion_limit`: the output is
    bounded by `max_completion_tokens`, else by `max_tokens`. `reasons`: `reasoning_effort` may be sent.
    """

    cache_control: bool = True
    completion_limit: bool = False
    reasons: bool = True

    @property
    def limit_field(self) -> str:
        """The field that bounds the output."""
        return "max_completion_tokens" if self.completion_limit else "max_tokens"


COMMON = Dialect()
