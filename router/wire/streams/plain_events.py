"""Recognise by their bytes the usual events at the beginning and at the end of a chat stream, instead of decoding them.

The patterns match JSON that is strict and complete: every key is one that is named here, the ones that matter stand at
most once, and what is no answer's text is a plain word in ASCII, an integer or null. So an event that they match means
exactly what it would mean decoded; all others have to be. Colons and commas may be followed by a space, as Python
writes them. Only sets of characters are repeated possessively: with groups, Python before 3.11.5 does so wrongly
(gh-106052).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from router.formats.json import json_or_none


class PlainEvents(Struct, frozen=True, eq=False):
    """The patterns of a protocol. Each matches one whole event, of which none of the line ends that follow is left out.

    `begins`: an event with a text of its only choice, which has index 0, in the group `text`. The text may be empty.
    `ends`, whose last group names the kind: `finish`, the finish reason of that choice and at most an empty text;
    `usage`, the usage object of an event that has nothing else of interest; or `done`, the closing event.
    """

    begins: re.Pattern[bytes]
    ends: re.Pattern[bytes]


FINISHES = ("stop", "length", "tool_calls", "content_filter")
"""The finish reasons that are recognised; none says that the server gave up."""

# What an event may have at the top beside its choices, since nothing reads it. A service tier belongs to usage.
IGNORED = ("id", "object", "created", "model", "system_fingerprint", "provider", "obfuscation", "prompt_token_ids")


def usage_message(found: re.Match[bytes]) -> Mapping[str, Any]:
    """The usage that an event of the kind `usage` has, as a message."""
    return {"usage": json_or_none(found["usage"])}


def _listed(pair: bytes) -> bytes:
    """Any number of pairs in braces."""
    return rb"\{(?:%b(?:, ?%b)*)?\}" % (pair, pair)


def _whole(before: bytes, choices: bytes, after: bytes) -> bytes:
    """An event with these patterns of pairs around its choices."""
    event = rb'data: \{(?:%b, ?)*"choices": ?\[%b\](?:, ?%b)*\}\n\n' % (before, choices, after)
    # Further line ends would belong to the event.
    return event + rb"(?![\r\n])"


def _one_of(*words: str) -> bytes:
    return b"(?:" + "|".join(words).encode() + b")"


_CHARACTERS = rb"[ !#-\[\]-~]*+"
_WORD = b'"' + _CHARACTERS + b'"'
_TEXT = _CHARACTERS + rb'(?:\\["\\/bfnrt]' + _CHARACTERS + b")*"
_INTEGER = rb"(?:0|[1-9][0-9]{0,17}+)"
_BESIDE = b'"' + _one_of(*IGNORED) + b'": ?(?:' + _WORD + b"|" + _INTEGER + b"|null)"
_BESIDE_CHOICE = b'"(?:%b|service_tier": ?%b|(?:service_tier|usage)": ?null)' % (_BESIDE[1:], _WORD)
_OF_CHOICE = rb'"(?:index": ?0|(?:logprobs|stop_reason|token_ids|matched_stop)": ?null)'
_OF_UNFINISHED = rb'"(?:index": ?0|(?:logprobs|stop_reason|token_ids|matched_stop|finish_reason)": ?null)'
# A null behind the text must not be the content's, since the last of two counts.
_NULLS = _one_of("role", "refusal", "reasoning", "reasoning_content", "tool_calls", "function_call")
_BEHIND_TEXT = b'"(?:role": ?' + _WORD + b"|" + _NULLS + b'": ?null)'
_BEFORE_TEXT = rb'(?:%b|"content": ?null)' % _BEHIND_TEXT
_WITHOUT_TEXT = rb'(?:%b|"content": ?"")' % _BEFORE_TEXT
_DELTA = rb'\{(?:%b, ?)*"content": ?"(?P<text>%b)"(?:, ?%b)*\}' % (_BEFORE_TEXT, _TEXT, _BEHIND_TEXT)
_COUNT = _WORD + b": ?(?:" + _INTEGER + b"|null)"
_COUNTS = _WORD + b": ?(?:" + _INTEGER + b"|null|" + _listed(_COUNT) + b")"


def _choice(pair: bytes, *own: bytes) -> bytes:
    between = rb"(?:, ?%b)*, ?" % pair
    return rb"\{(?:%b, ?)*" % pair + between.join(own) + rb"(?:, ?%b)*\}" % pair


_FINISHED = _choice(
    _OF_CHOICE,
    b'"delta": ?' + _listed(_WITHOUT_TEXT),
    b'"finish_reason": ?"(?P<finish>%b)"' % _one_of(*FINISHES),
)
CHAT_EVENTS = PlainEvents(
    begins=re.compile(_whole(_BESIDE_CHOICE, _choice(_OF_UNFINISHED, b'"delta": ?' + _DELTA), _BESIDE_CHOICE)),
    ends=re.compile(
        b"|".join(
            (
                _whole(_BESIDE_CHOICE, _FINISHED, _BESIDE_CHOICE),
                rb'data: \{(?:%b, ?)*"choices": ?\[\], ?"usage": ?(?P<usage>%b)(?:, ?%b)*\}\n\n(?![\r\n])'
                % (_BESIDE, _listed(_COUNTS), _BESIDE),
                rb"data: (?P<done>\[DONE\])\n\n(?![\r\n])",
            )
        )
    ),
)
