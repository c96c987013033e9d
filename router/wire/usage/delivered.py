"""Estimates of tokens from texts, for upstreams that report no usage and for streams that broke off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router.types import Usage

_BYTES_PER_TOKEN = 4
# An honest count may be below ours: words, code and tables take between two and eight bytes a token.
_MOST_BYTES_RATIO, _SLACK_TOKENS = 2, 32
_MOST_SMALL_RATIO, _SMALL_SLACK_TOKENS = 4, 4
# What a server sends after its report at most, such as the last words of the chunk that has it.
_TOKENS_AFTER_REPORT = 4
# An image or a file in base64 has about as many tokens as Anthropic's largest image.
_MEDIA_BYTES = 1_600 * _BYTES_PER_TOKEN
_MIN_MEDIA_CHARACTERS, _MEDIA_HEAD_CHARACTERS = 1_000, 200

# Tool definitions are part of the prompt.
_PROMPT_FIELDS = ("system", "instructions", "messages", "input", "prompt", "tools", "functions", "response_format")
_ANSWER_FIELDS = ("choices", "content", "output", "message", "candidates", "response")
_NOT_WRITTEN = frozenset(
    {
        "annotations",
        "call_id",
        "cited_text",
        "encrypted_content",
        "finishReason",
        "finish_reason",
        "id",
        "logprobs",
        "model",
        "object",
        "results",
        "role",
        "signature",
        "status",
        "type",
    }
)


_UNCOUNTED_BYTES, _BYTES_PER_TEXT = 16 * 1024, 40
# The bytes of UTF-8 that begin no letter.
_CONTINUATIONS = bytes(range(0x80, 0xC0))
WHOLE_TEXTS = re.compile(
    rb'"(?:arguments|content|delta|partial_json|reasoning|reasoning_content|refusal|response|text|thinking|transcript)"'
    rb'\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)'
)


class Delivered:
    """The texts of an answer that have been delivered, as events or as part of a whole answer.

    `texts` matches them in bytes, escaped as JSON.
    """

    def __init__(self, texts: re.Pattern[bytes]) -> None:
        self._texts = texts
        self._bytes = self._characters = self._words = self._pieces = 0
        self._uncounted: list[bytes] = []
        self._uncounted_bytes = 0
        self._at_report: int | None = None

    def add(self, raw: bytes) -> None:
        """Count the texts in these bytes, which begin and end between two texts."""
        self.add_texts(self._texts.findall(raw))

    def add_texts(self, texts: list[bytes]) -> None:
        """Count these texts, escaped as JSON. Many are counted at once, since each alone takes longer."""
        self._uncounted += texts
        self._uncounted_bytes += sum(map(len, texts)) + _BYTES_PER_TEXT * len(texts)
        if self._uncounted_bytes > _UNCOUNTED_BYTES:
            self._count()

    def _count(self) -> None:
        texts, self._uncounted, self._uncounted_bytes = self._uncounted, [], 0
        if not texts:
            return
        joined = b"".join(texts)
        # Tokenizers have tokens for many spaces in a row. An escaped letter takes six bytes, others two or three.
        pairs, escapes = joined.count(b"  "), joined.count(b"\\u") if b"\\" in joined else 0
        self._bytes += len(joined) - 2 * pairs - 3 * escapes
        letters = joined if joined.isascii() else joined.translate(None, _CONTINUATIONS)
        self._characters += len(letters) - 2 * pairs - 5 * escapes
        self._words += joined.count(b" ") - 2 * pairs
        self._pieces += len(texts) - texts.count(b"")

    def is_reported(self) -> None:
        """Note that the server has just reported how long the answer is so far."""
        self._at_report = self.tokens

    @property
    def tokens(self) -> int:
        """An estimate of the tokens, rather too high: short words and single pieces have a token each."""
        self._count()
        return max(tokens_of(self._bytes), self._words, self._pieces)

    @property
    def sure_tokens(self) -> int:
        """An estimate that is not above the true number by much: by letters alone, since a server may send them singly,
        and alphabets have between one and four bytes a letter.
        """
        self._count()
        return tokens_of(self._characters)

    @property
    def since_report(self) -> int:
        """The tokens after the server's last report; 0 where it has reported nothing."""
        return 0 if self._at_report is None else self.tokens - self._at_report


def counted(
    reported: Usage | None,
    body: Mapping[str, Any],
    answer_tokens: int,
    *,
    sure_tokens: int | None = None,
    since_report: int = 0,
    is_whole: bool = True,
) -> Usage:
    """The usage of a request: as reported, and estimated where the upstream reported nothing, or too little.

    `body` is that of the request in any protocol, `answer_tokens` an estimate of what was delivered, and `sure_tokens`
    what is at least as sure as the length of the text. An answer that is not whole, that went on after the report
    (`since_report` tokens), or whose report is absurdly low has at least as many tokens as were delivered.
    """
    usage = Usage(0, 0) if reported is None else reported
    input_tokens = usage.input_tokens or prompt_tokens(body)
    output_tokens = usage.output_tokens
    sure_tokens = answer_tokens if sure_tokens is None else sure_tokens
    is_partial = not is_whole or since_report > _TOKENS_AFTER_REPORT
    if not output_tokens or is_partial or is_absurd(output_tokens, sure_tokens):
        output_tokens = max(output_tokens, answer_tokens)
    if (input_tokens, output_tokens) != (usage.input_tokens, usage.output_tokens):
        usage = msgspec.structs.replace(usage, input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)
    asked_tier = body.get("service_tier")
    if usage.service_tier is None and isinstance(asked_tier, str):
        usage = msgspec.structs.replace(usage, service_tier=asked_tier)
    return usage


def is_absurd(reported_tokens: int, delivered_tokens: int) -> bool:
    """Whether a server reports so much less than it delivered that no tokenizer explains it.

    A complete report is believed as long as a token has less than about eight bytes of text, sixteen in short answers.
    """
    return delivered_tokens >= min(
        _MOST_BYTES_RATIO * reported_tokens + _SLACK_TOKENS,
        _MOST_SMALL_RATIO * reported_tokens + _SMALL_SLACK_TOKENS,
    )


def texts_in(body: bytes) -> Delivered:
    """The texts in a whole answer of any protocol, or in the beginning of one, by the keys that have them."""
    delivered = Delivered(WHOLE_TEXTS)
    delivered.add(body)
    return delivered


def tokens_of(byte_count: int) -> int:
    """An estimate of the tokens of a text in UTF-8 of this length."""
    return -(-byte_count // _BYTES_PER_TOKEN)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """An estimate of the tokens of a request body of any protocol."""
    prompt = [body[field] for field in _PROMPT_FIELDS if field in body]
    return tokens_of(sum(_sizes(prompt, with_keys=True)))


def answer_tokens(answer: Any) -> int:
    """An estimate of the tokens of a whole answer of any protocol; 0 for one without text, such as an embedding."""
    if not isinstance(answer, Mapping):
        return 0
    texts = [answer[field] for field in _ANSWER_FIELDS if field in answer]
    return tokens_of(sum(_sizes(texts, with_keys=False)))


def _sizes(value: Any, *, with_keys: bool) -> Iterator[int]:
    """The number of bytes of every text in a JSON value, and of every token that a list states by its number."""
    # A stack instead of recursion, since the depth of an upstream's answer has no limit.
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield _size(value)
        elif isinstance(value, Mapping):
            if with_keys:
                yield sum(map(len, value))
                stack += value.values()
            elif not str(value.get("type", "")).endswith("_result"):
                # What a server's tools found was read by the model, not written.
                stack += [inner for key, inner in value.items() if key not in _NOT_WRITTEN]
        elif isinstance(value, list):
            yield _BYTES_PER_TOKEN * sum(type(item) is int for item in value)
            stack += value


def _size(text: str) -> int:
    if len(text) >= _MIN_MEDIA_CHARACTERS:
        head = text[:_MEDIA_HEAD_CHARACTERS]
        if head.isascii() and not any(map(str.isspace, head)):
            return min(len(text), _MEDIA_BYTES)
    return len(text.encode("utf-8", "surrogatepass"))
