"""The final answer of a text, and whether two texts give the same one.

The client's prompt is never changed to get an answer that can be read, so the form is found in the text itself, from
the most explicit form to the least: a JSON document, `\\boxed{…}`, "the answer is …", a lone option letter, a number,
yes or no, a short text. A text without any of these has no final answer, and agrees with none.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec
from msgspec import Struct

from router.compose.fences import fenced_blocks
from router.formats.text import late_pattern

Kind = Literal["json", "option", "number", "boolean", "text"]

_LONGEST_READ = 20_000
_LONGEST_SHORT_TEXT = 12
_BOXED = late_pattern(r"\\boxed\s*\{")
_STATED = late_pattern(
    r"(?:answer|antwort|respuesta|réponse|risposta|resposta|答案|答え|ответ)(?:\s*\*\*)?"
    r"(?:\s+(?:is|are|was|would be|lautet|ist|es|est|è|é)\b\s*[:：]?|\s*[:：=]|\s*[是为は])\s*(?P<answer>[^\n]+)",
    re.IGNORECASE,
)
_OPTION = late_pattern(
    r"\A[\s*_\"'`(\[{]*(?:option\s+|choice\s+)?[(\[]?(?P<letter>[A-Z])[)\]]?(?=[\s.:,;)*_\"'`\]}]|\Z)(?P<rest>.*)",
    re.DOTALL,
)
_BRACKETED_OPTION = late_pattern(r"\(([A-Z])\)")
_NUMBER = late_pattern(r"[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?:\s*/\s*\d+)?(?:\s?%)?")
_BOOLEAN = {
    "yes": True,
    "no": False,
    "true": True,
    "false": False,
    "ja": True,
    "nein": False,
    "sí": True,
    "oui": True,
    "non": False,
}
_FIRST_WORD = late_pattern(r"\A\W*(\w+)\b")
_LATEX = late_pattern(r"\\(?:text|mathrm|mathbf|left|right|,|;|!|displaystyle)|[{}$]")
_LIST_MARKER = late_pattern(r"\A\s*(?:\d{1,3}[.)]|[-*•])\s+")
_WORD = late_pattern(r"\w+(?:[.'’-]\w+)*", re.UNICODE)
_OPTION_LINE = late_pattern(r"^[ \t]{0,20}[(\[]?([A-J])[)\].:][ \t]+\S", re.MULTILINE)
_ASKS = late_pattern(
    r"\\boxed|\b(?:final answer|(?:correct|right|best) (?:answer|option|choice)|answer (?:with|yes|true|only|choices)"
    r"|which (?:one )?of (?:the following|these)|yes or no|true or false|how (?:many|much)|multiple[- ]choice"
    r"|(?:respond|reply) with (?:only|just|a single)|ja oder nein|richtig oder falsch|wie ?viele?|oui ou non|combien"
    r"|sí o no|cuánt[oa]s?)\b|多少|选择",
    re.IGNORECASE,
)


class Answer(Struct, frozen=True):
    """A final answer. Two texts give the same answer where `kind` and `value` are equal.

    `value` is canonical: JSON with sorted keys, an upper-case option letter, a number without its writing, `yes` or
    `no`, or the normalised words.
    """

    kind: Kind
    value: str


def read_answer(text: str) -> Answer | None:
    """The final answer of `text`; None where it has none that can be compared."""
    stripped = text.strip()[-_LONGEST_READ:]
    if not stripped:
        return None
    return _json(stripped) or _boxed(stripped) or _stated(stripped) or _whole(stripped)


def asks_for_answer(prompt: str) -> bool:
    """Whether a prompt clearly asks for a final answer that can be compared: one of some options, a number, yes or no.

    An answer to it without a final answer is then probably wrong. Of any other prompt, nothing follows from that.
    """
    asked = prompt[-_LONGEST_READ:]
    options = {found[1] for found in _OPTION_LINE.finditer(asked)}
    return {"A", "B"} <= options or _ASKS.search(asked) is not None


def _json(text: str) -> Answer | None:
    fenced = next((each for each in fenced_blocks(text) if each.is_all and each.language in ("", "json")), None)
    body = (text if fenced is None else fenced.text).strip()
    if not body.startswith(("{", "[")):
        return None
    try:
        document = _canonical(msgspec.json.decode(body))
        return Answer("json", msgspec.json.encode(document, order="deterministic").decode())
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value.strip() if isinstance(value, str) else value


def _boxed(text: str) -> Answer | None:
    """The contents of the last `\\boxed{…}`, with balanced braces."""
    starts = [found.end() for found in _BOXED.finditer(text)]
    if not starts:
        return None
    depth, start = 1, starts[-1]
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return _value(text[start:position], terse=True)
    return None


def _stated(text: str) -> Answer | None:
    """What the last "the answer is …" says."""
    stated = [found["answer"] for found in _STATED.finditer(text)]
    return _value(stated[-1], terse=True) if stated else None


def _whole(text: str) -> Answer | None:
    """The answer of a text that says nothing else, or whose last line is short and ends with a number."""
    last = _LIST_MARKER.sub("", text.rsplit("\n", 1)[-1])
    short = len(_WORD.findall(text)) <= _LONGEST_SHORT_TEXT
    if short:
        return _value(text, terse=False)
    number = [*_NUMBER.finditer(last)]
    options = _BRACKETED_OPTION.findall(last)
    if len(set(options)) == 1:
        return Answer("option", options[0])
    if not number or len(_WORD.findall(last)) > _LONGEST_SHORT_TEXT:
        return None
    # After the number, there may be its unit.
    is_last = len(_WORD.findall(last[number[-1].end() :])) <= 1
    return _number(number[-1].group()) if is_last else None


def _value(text: str, terse: bool) -> Answer | None:
    """The value of a short text. `terse`: it is known to be the answer, so words after a number are its unit."""
    cleaned = _LATEX.sub(" ", text).strip().strip("*_`\"' .")
    option = _OPTION.match(cleaned)
    if option is not None and _is_option(option):
        return Answer("option", option["letter"])
    first = _FIRST_WORD.match(cleaned)
    if first is not None and first[1].casefold() in _BOOLEAN:
        return Answer("boolean", "yes" if _BOOLEAN[first[1].casefold()] else "no")
    numbers = [*_NUMBER.finditer(cleaned)]
    if len(numbers) == 1 and (terse or numbers[0].start() == 0):
        return _number(numbers[0].group())
    if terse and len(numbers) > 1 and "=" in cleaned:
        return _number(numbers[-1].group())
    words = _WORD.findall(unicodedata.normalize("NFKC", cleaned).casefold())
    if not words or len(words) > _LONGEST_SHORT_TEXT:
        return None
    kept = [word for word in words if word not in ("the", "a", "an")] or words
    return Answer("text", " ".join(kept))


def _is_option(option: re.Match[str]) -> bool:
    """Whether a first capital letter is an option, and not a word: `I think`, `A dog`."""
    return option.group().lstrip("*_\"'` ")[0] in "([" or not option["rest"].strip() or option["rest"][0] in ".):]"


def _number(text: str) -> Answer | None:
    plain = text.replace(",", "").replace("−", "-").replace(" ", "")
    percent = plain.endswith("%")
    numerator, _, denominator = plain.rstrip("%").partition("/")
    try:
        value = Decimal(numerator)
        if denominator:
            value /= Decimal(denominator)
    except (InvalidOperation, ZeroDivisionError):
        return None
    if value.is_nan() or abs(value.adjusted()) > 400:
        return None
    rounded = f"{float(value):.9g}"
    return Answer("number", "0" if float(rounded) == 0 else rounded + ("%" if percent else ""))
