"""What an answer must meet, checked by code: no model is asked, and nothing is executed. Pure.

Every check is bounded: patterns by a time, schemas by a number of steps, syntax by the length of the text.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from router.compose.fences import fenced_blocks
from router.compose.json_schema import SchemaTooComplexError, violation
from router.compose.language import same_language
from router.decide.plans.spec import Validators
from router.formats.json import read_json
from router.formats.patterns import pattern_found
from router.formats.text import late_pattern
from router.wire.reading.whole_answers import WholeAnswer

_PATTERN_S = 0.25
_LONGEST_PARSED = 100_000
_LONGEST_REFUSAL = 600
_SORRY = (
    r"(?:i'?m|i am|we'?re) (?:very |really |so )?sorry|sorry|i apologi[sz]e|unfortunately|as an ai|es tut mir leid"
    r"|tut mir leid|je suis désolé|lo siento|mi dispiace|desculpe"
)
_DO = (
    r"(?:assist|help(?! but)|comply|provide|fulfil|answer|do th|discuss|create|write|generate|engage|share|give|offer"
    r"|support|participate|continue|produce|complete|fulfill)"
)
_CANNOT = (
    rf"(?:i|we) (?:can'?t|cannot|can not|won'?t|will not|am unable to|am not able to) (?:\w+ )?{_DO}"
    rf"|i'm (?:unable|not able) to (?:\w+ )?{_DO}|i (?:must|have to) decline"
    r"|ich kann (?:dabei|das|ihnen|dir) (?:\w+ )?nicht|je ne peux pas|no puedo ayudar|non posso aiutar|não posso ajudar"
)
_BEGINNING = late_pattern(rf"\A\W*(?:{_SORRY}|i\b|i'm|we\b|ich kann|je ne|no puedo|non posso|não posso)", re.IGNORECASE)
_REFUSAL = late_pattern(rf"\A\W*(?:(?:{_SORRY})\b[^.\n]{{0,60}}?\b)?(?:{_CANNOT})", re.IGNORECASE)


def failure_of(validators: Validators, answer: WholeAnswer, asked_schema: Mapping[str, Any] | None, prompt: str) -> str:
    """Why an answer fails, in a few words; empty where it passes. `asked_schema` is the JSON schema of the request.

    An answer that calls tools has no text to check. What cannot be checked is no reason to reject.
    """
    if answer.has_calls:
        return "cut off" if validators.finished and answer.ending == "cut" else ""
    text = answer.text.strip()
    if not text:
        return "empty"
    schema = asked_schema if validators.json_schema == "request" else validators.json_schema
    checks: tuple[tuple[bool, Callable[[], str | None]], ...] = (
        (validators.finished, lambda: "cut off" if answer.ending == "cut" else ""),
        (validators.no_refusal, lambda: "refusal" if answer.ending == "refused" or is_refusal(text) else ""),
        (isinstance(schema, Mapping), lambda: schema_problem(text, schema)),
        (validators.regex is not None, lambda: pattern_problem(text, validators.regex or "")),
        (validators.syntax is not None, lambda: _SYNTAXES[validators.syntax or "json"](text)),
        (validators.same_language, lambda: "" if same_language(prompt, text) else "another language"),
    )
    return next((problem for wanted, check in checks if wanted and (problem := check())), "")


def is_refusal(text: str) -> bool:
    """Whether a short text refuses to answer. A long text that begins with an apology is an answer."""
    return len(text) <= _LONGEST_REFUSAL and _REFUSAL.search(text.replace("’", "'")) is not None


def begins_as_refusal(beginning: str) -> bool:
    """Whether `is_refusal` could hold for a text with this beginning, of at least some dozen characters."""
    return _BEGINNING.search(beginning.replace("’", "'")) is not None


def schema_asked(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema that a request of any protocol asks for; `{"type": "object"}` where it asks for any JSON."""
    format_ = body.get("response_format")
    if not isinstance(format_, Mapping):
        text = body.get("text")
        format_ = text.get("format") if isinstance(text, Mapping) else body.get("output_format", body.get("format"))
    if format_ == "json":
        return {"type": "object"}
    if not isinstance(format_, Mapping):
        return None
    kind, stated = format_.get("type"), format_.get("json_schema", format_)
    if kind == "json_object":
        schema = format_.get("schema")
        return schema if isinstance(schema, Mapping) else {"type": "object"}
    if kind == "json_schema" and isinstance(stated, Mapping):
        schema = stated.get("schema")
        return schema if isinstance(schema, Mapping) else {}
    # Ollama's `format` is the schema itself.
    return format_ if format_ is body.get("format") and kind in ("object", "array") else None


def schema_problem(text: str, schema: Any) -> str | None:
    """Why a text is no JSON that meets the schema; empty where it is, and None where the schema cannot be checked."""
    try:
        value = read_json(_unfenced(text, "json").encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return "no JSON"
    try:
        problem = violation(value, schema)
    except (SchemaTooComplexError, RecursionError, OverflowError):
        return None
    return f"JSON schema: {problem}" if problem else ""


def pattern_problem(text: str, pattern: str) -> str | None:
    """Why a text does not contain a match; empty where it does, and None where that cannot be checked."""
    found = pattern_found(pattern, text, _PATTERN_S)
    if found is None:
        return None
    return "" if found else "the pattern is not found"


def _json_problem(text: str) -> str:
    try:
        read_json(_unfenced(text, "json").encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return "invalid JSON"
    return ""


def _python_problem(text: str) -> str:
    source = _unfenced(text, "python", "py")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source[:_LONGEST_PARSED])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # The rest of a text that is too long was not read.
        return "invalid Python" if len(source) <= _LONGEST_PARSED else ""
    return ""


def _yaml_problem(text: str) -> str:
    # Imported here, as few validators need it.
    import yaml

    source = _unfenced(text, "yaml", "yml")
    if len(source) > _LONGEST_PARSED:
        return ""
    try:
        # Only read as nodes: nothing is constructed, so aliases do not multiply.
        for _ in yaml.compose_all(source, Loader=yaml.SafeLoader):
            pass
    except (yaml.YAMLError, ValueError, RecursionError):
        return "invalid YAML"
    return ""


def _unfenced(text: str, *languages: str) -> str:
    """The longest fenced block in one of the languages, or in none; the whole text where there is no such block."""
    blocks = [block.text for block in fenced_blocks(text) if block.language in (*languages, "")]
    return max(blocks, key=len) if blocks else text


_SYNTAXES: Mapping[str, Callable[[str], str]] = {
    "json": _json_problem,
    "python": _python_problem,
    "yaml": _yaml_problem,
}
