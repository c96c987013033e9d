"""What the text of an answer shows without a judge. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from router.compose.answers import Answer
from router.compose.gate import TextSignals

_LONGEST_READ = 200_000
_DIGIT = re.compile(r"\d")
_HEDGE = re.compile(
    r"\b(?:i am not sure|i'm not sure|not certain|i think|i believe|perhaps|maybe|possibly|probably|might be|could be"
    r"|it seems|unclear|cannot determine|can't determine|hard to say|vielleicht|möglicherweise|wahrscheinlich"
    r"|peut-être|quizás|tal vez)\b",
    re.IGNORECASE,
)


def signals_of(text: str, answer: Answer | None, logprobs: Sequence[float] = ()) -> TextSignals:
    """The signals of a text whose final answer is `answer`; `logprobs` are those of its tokens, where there are any."""
    read = text[:_LONGEST_READ]
    return TextSignals(
        readable=answer is not None,
        characters=len(text),
        lines=text.count("\n") + 1 if text else 0,
        digits=len(_DIGIT.findall(read)),
        hedges=len(_HEDGE.findall(read)),
        logprobs=_quantiles(logprobs),
    )


def _quantiles(logprobs: Sequence[float]) -> tuple[float, float, float] | None:
    if not logprobs:
        return None
    low, median = np.quantile(np.asarray(logprobs, dtype=np.float64), (0.1, 0.5))
    return float(low), float(median), float(min(logprobs))
