"""Token usage: the one reader of what upstreams report, and estimates for upstreams that report nothing."""

from router.wire.usage.delivered import answer_tokens, counted, prompt_tokens, tokens_of
from router.wire.usage.reader import MAX_TOKENS, may_report, read_usage, usage_in
from router.wire.usage.vocabularies import HOLDERS, VOCABULARIES, Vocabulary

__all__ = [
    "HOLDERS",
    "MAX_TOKENS",
    "VOCABULARIES",
    "Vocabulary",
    "answer_tokens",
    "counted",
    "may_report",
    "prompt_tokens",
    "read_usage",
    "tokens_of",
    "usage_in",
]
