"""Token usage: the one reader of what upstreams report, and estimates for upstreams that report nothing."""

from router.wire.usage.asked import (
    answers_asked,
    output_limit,
    predicted_tokens,
    remote_media_tokens,
    without_output_limit,
)
from router.wire.usage.delivered import (
    Delivered,
    answer_tokens,
    counted,
    is_absurd,
    prompt_tokens,
    texts_in,
    tokens_of,
)
from router.wire.usage.reader import MAX_TOKENS, may_report, read_usage, usage_in
from router.wire.usage.vocabularies import HOLDERS, VOCABULARIES, Vocabulary

__all__ = [
    "HOLDERS",
    "MAX_TOKENS",
    "VOCABULARIES",
    "Delivered",
    "Vocabulary",
    "answer_tokens",
    "answers_asked",
    "counted",
    "is_absurd",
    "may_report",
    "output_limit",
    "predicted_tokens",
    "prompt_tokens",
    "read_usage",
    "remote_media_tokens",
    "texts_in",
    "tokens_of",
    "usage_in",
    "without_output_limit",
]
