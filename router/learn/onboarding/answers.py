"""Parsing of model replies: the final answer, and the option letter or the number in it. Pure functions of texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction

_MAX_REPLY_CHARACTERS = 200_000
_MAX_NUMBER_CHARACTERS = 60
_MAX_EXPONENT = 300
_FEW_WORDS = 5


_THOUGHTS = re.compile(r"<(think|thinking|reasoning|thought)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHTS_END = re.compile(r"\A.*</(?:think|thinking|reasoning|thought)>", re.DOTALL | re.IGNORECASE)
_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0x2044: "/", 0x2212: "-", 0x00AD: None}


def without_thoughts(reply: str) -> str:
    """`reply` without the model's reasoning between `<think>` tags."""
    text = _THOUGHTS.sub("", reply[:_MAX_REPLY_CHARACTERS])
    # Some servers forward only the closing tag.
    return _THOUGHTS_END.sub("", text)


def in_ascii(text: str) -> str:
    """`text` with full-width characters and the digits of any script replaced by ASCII ones."""
    text = text.translate(_ASCII)
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(sign)) if unicodedata.category(sign) == "Nd" else sign for sign in text)


_WORDS = (
    r"(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice)|(?:end)?antwort|lösung|"
    r"r[ée]ponse(?:\s+finale)?|respuesta(?:\s+final)?|(?:итоговый\s+)?ответ|(?:最终|正确|最終)?(?:答案|回答)|答え|答|"
    r"(?:最終)?解答|الإجابة(?:\s+النهائية)?|الجواب|(?:अंतिम\s+)?उत्तर|resposta(?:\s+final)?|risposta(?:\s+finale)?|"
    r"cevap|yanıt|(?:최종\s*)?(?:정답|답변|답)"
)
# Bounded: a long run of these would otherwise be read again from each of its signs.
_MARKUP = r"[*_`~]{0,8}"
# Chinese, Japanese and Korean write no space before a word or a number.
_NO_LETTER_BEFORE = r"(?<![^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
_AT_LINE_START = re.compile(
    rf"^[ \t]*(?:[#>\-•]+[ \t]*)?{_MARKUP}(?:{_WORDS}){_MARKUP}[ \t]*:{_MARKUP}|^[^\S\n]*####(?=\s*[-+$]?[\d.])",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(rf"^[ \t]*(?:#+[ \t]*{_MARKUP}|\*\*)(?:{_WORDS})[*_:]*[ \t]*$", re.IGNORECASE | re.MULTILINE)
_ANYWHERE = re.compile(
    rf"{_NO_LETTER_BEFORE}{_MARKUP}(?:{_WORDS})(?:\s+to\s+(?:this|the|your)\s+question)?{_MARKUP}\s*(?::|\b(?:is|ist|lautet|est|es|é|è)\b\s*:?|[–—-](?=\s)|是|为|為|は|는|은)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\s*```\w*\s*\Z")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")


def final_answer(reply: str) -> tuple[str, bool]:
    """The text of the final answer, and whether it is marked as such; without a mark it is the last line of `reply`.

    A mark is a line that begins with `Answer:` in one of a dozen languages, or a LaTeX box; the last mark counts.
    Where there is none, `the answer is …` inside a line is a mark.
    """
    marks = [match.end() for pattern in (_AT_LINE_START, _HEADING) for match in pattern.finditer(reply)]
    boxes = [match.start() for match in _BOXED.finditer(reply)]
    if boxes and boxes[-1] > max(marks, default=-1):
        return stripped(_unboxed(reply[boxes[-1] :])), True
    if not marks:
        marks = [match.end() for match in _ANYWHERE.finditer(reply)]
    if marks:
        lines = (stripped(line) for line in reply[max(marks) :].splitlines() if not _FENCE.match(line))
        return next((line for line in lines if line), ""), True
    return _unmarked_answer(reply), False


def _unmarked_answer(reply: str) -> str:
    """The answer in a reply without a mark: its last line, or a short first line that a longer text follows."""
    lines = [stripped(line) for line in reply.strip().splitlines() if not _FENCE.match(line)]
    filled = [line for line in lines if line]
    if not filled:
        return ""
    first, last = filled[0], filled[-1]
    alone = len(lines) > 1 and lines[0] == first and not lines[1]
    return first if alone and len(first.split()) <= _FEW_WORDS < len(last.split()) else last


def _unboxed(text: str) -> str:
    """The content of the first LaTeX box in `text`, or the rest of `text` where the box is not closed; `text` where
    there is no box.
    """
    box = _BOXED.search(text)
    if box is None:
        return text
    depth = 0
    for position in range(box.end() - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[box.end() : position]
    return text[box.end() :]


_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|texttt)\s*\{([^{}]*)\}")
_PAIRS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("<", ">"),
    ("```", "```"),
    ("**", "**"),
    ("__", "__"),
)
_QUOTES = (("`", "`"), ("*", "*"), ('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("«", "»"), ("「", "」"), ("‘", "’"))


def stripped(line: str) -> str:
    """`line` without surrounding LaTeX, Markdown and quotes, and without the full stop at its end."""
    line = _LATEX_TEXT.sub(r"\1", _unboxed(line)).strip()
    before = None
    while line != before:
        before = line
        for opening, closing in (*_PAIRS, *_QUOTES):
            inner = line[len(opening) : -len(closing)]
            if line.startswith(opening) and line.endswith(closing) and inner and opening not in inner:
                line = inner.strip()
        if line.count("**") == 1 and (line.startswith("**") or line.endswith("**")):
            line = line.removeprefix("**").removesuffix("**").strip()
        if len(line) > 1 and line[-1] in ".。।" and not line.endswith(".."):
            line = line[:-1].rstrip()
    return line if line.strip("*_`") else ""


_ARTICLE = re.compile(r"\A(?:the|an?|der|die|das|le|la|les|el|los|las|il|o|os|as)\s+(?=\S)")
_PUNCTUATION = "".join((*" .。!?!?,;:…\"'“”„«»「」_()[]",))


def normal_text(text: str) -> str:
    """`text` case-folded and in Unicode NFKC form, without a leading article and surrounding punctuation."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = " ".join(text.replace("*", "").replace("`", "").split()).strip(_PUNCTUATION)
    return _ARTICLE.sub("", text)


_OPTION = re.compile(r"^[ \t]*[(\[]?([A-J])[)\].:、][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_REJECTED = re.compile(r"\b(?:not|nicht|pas|no)\s+\(?[A-J]\b\)?", re.IGNORECASE)
_LEADING = re.compile(
    r"\A(?:(?:option|choice|answer)\s+)?[(\[*]*([A-Ja-j])[)\]*]*(?=\Z|\s*[).:,;—–\-]|\s)(.*)", re.DOTALL
)
_SINGLE_LETTER = re.compile(r"(?<![\w'’])[(\[*]*([A-J])[)\]*]*(?![\w'’])")
_REASON = re.compile(
    r"\A\s*(?:[.:,;—–(-]\s*)?(?:because|since|as|is|was|would|seems|weil|da|parce|car|porque|ist|est|es)\b",
    re.IGNORECASE,
)


def options_in(prompt: str) -> dict[str, str]:
    """The options in `prompt`: lines `A) …`, `(A) …`, `A. …` with consecutive letters from A on; else empty."""
    options: dict[str, str] = {}
    for letter, text in _OPTION.findall(prompt.translate(_ASCII)):
        if letter == chr(ord("A") + len(options)):
            options[letter] = text
        elif letter == "A":
            # The options before belong to a worked example.
            options = {"A": text}
    return options if len(options) > 1 else {}


def read_choice(content: str, options: Mapping[str, str]) -> str:
    """The letter that `content` names: alone, with the option's text, or by that text; empty for none or several."""
    letters = {letter: normal_text(text) for letter, text in options.items()}
    if named := [letter for letter, text in letters.items() if text == normal_text(content)]:
        return named[0] if len(named) == 1 else ""
    content = _REJECTED.sub("", content).strip(" ,;")
    allowed = set(letters) or set("ABCDEFGHJ")
    lead = _LEADING.match(content)
    if lead is None or lead[1].upper() not in allowed:
        bold = {letter for letter in re.findall(r"(?:\*\*|\()([A-J])(?:\*\*|\))", content) if letter in allowed}
        return bold.pop() if len(bold) == 1 else ""
    letter, rest = lead[1], lead[2]
    text = normal_text(rest.lstrip(" ).:,;—–-"))
    if letter.islower() and text and text != letters.get(letter.upper()):
        return ""
    letter = letter.upper()
    if not text or text == letters.get(letter):
        return letter
    # `A dog` begins with an article.
    is_article = rest[:1].isspace() and lead[0][0] in "AaIi" and not _REASON.match(rest)
    if is_article or text in letters.values():
        return ""
    others = {other for other in _SINGLE_LETTER.findall(rest) if other in allowed and other not in {letter, "A", "I"}}
    others |= {other for other in re.findall(r"(?:\(|\bor |\band |/|, ?|\boder )([A-J])\b", rest) if other in allowed}
    return letter if others <= {letter} else ""


def only_emphasised(reply: str, options: Mapping[str, str]) -> str:
    """The only option that is set in bold in a reply without a mark; empty for none or several."""
    bold = {read_choice(stripped(part), options) for part in re.findall(r"\*\*(.+?)\*\*", reply)} - {""}
    return bold.pop() if len(bold) == 1 else ""


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER_OF_TEN = re.compile(r"10([⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*([^{}]+?)\s*\}\s*\{\s*([^{}]+?)\s*\}")
_GAP = " \u00a0\u2009\u202f'’_٬"
_DIGITS = rf"(?:\d{{1,3}}(?:[{_GAP}]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,٫٬]\d+)*|[.,]\d+)"
_NUMBER = re.compile(
    rf"(?<![.,]){_NO_LETTER_BEFORE}(?P<sign>(?:minus|negative|moins|menos|минус|负|負|マイナス)\s*|[-+–]\s?)?[$€£¥₹]?\s?(?P<digits>{_DIGITS})"
    rf"(?:\s*/\s*(?P<below>{_DIGITS}))?"
    r"(?:[eE](?P<e>[+-]?\d+)(?!\w)|\s*(?:×|x|\*|·|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?(?P<power>[+-]?\d+)\}?)?"
    r"(?:\s*(?P<scale>thousand|million|billion|trillion)\b)?",
    re.IGNORECASE,
)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ASIDE = re.compile(r"\([^()]*\)")
_SEVERAL = re.compile(r"\b(?:or|oder|ou|или|between|zwischen|entre)\b|或|或者", re.IGNORECASE)


def read_number(content: str, *, lenient: bool = False) -> frozenset[Fraction]:
    """The possible values of the number in `content`: `1.234` is 1.234 or, as in German, 1234. Empty without a number.

    In a calculation, the number after the last `=` counts; a remark in parentheses is ignored. Several different
    numbers are not an answer, but with `lenient` the last one is.
    """
    text = content.replace("{,}", ",").replace(r"\,", "").replace(r"\!", "").replace(r"\%", "%").replace(r"\$", "$")
    text = _LATEX_FRACTION.sub(r"\1/\2", text)
    text = _POWER_OF_TEN.sub(lambda power: f"10^{power[1].translate(_SUPERSCRIPTS)}", text)
    numbers = _numbers_in(text)
    if len(numbers) > 1 and (without := _numbers_in(_ASIDE.sub(" ", text))):
        numbers = without
    if len(numbers) > 1 and re.search("[=≈]", text):
        numbers = _numbers_in(re.split("[=≈]", text)[-1])
    if not numbers or (len(numbers) > 1 and not lenient) or (len(numbers) > 1 and _SEVERAL.search(text)):
        return frozenset()
    return numbers[-1]


def exact_number(text: str) -> Fraction | None:
    """The number in an answer key: `1,234.5`, `-3/4`, `2e-3`; None where it is not a number."""
    text = text.strip().translate(_ASCII).lstrip("+")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    if len(text) > _MAX_NUMBER_CHARACTERS or not re.fullmatch(
        r"-?(\d+/\d+|(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?)", text, re.ASCII
    ):
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _numbers_in(text: str) -> list[frozenset[Fraction]]:
    """The different numbers in `text`, each as the set of its possible values."""
    numbers: dict[frozenset[Fraction], None] = {}
    for match in _NUMBER.finditer(text):
        power = int(match["e"] or match["power"] or 0)
        if abs(power) > _MAX_EXPONENT or len(match[0]) > _MAX_NUMBER_CHARACTERS:
            continue
        sign = -1 if (match["sign"] or "").strip() not in ("", "+") else 1
        factor = Fraction(10) ** power * sign * _SCALES.get((match["scale"] or "").lower(), 1)
        below = _values(match["below"]) if match["below"] else {Fraction(1)}
        values = frozenset(value / under * factor for value in _values(match["digits"]) for under in below if under)
        numbers[values] = None
    return [values for values in numbers if values]


def _values(digits: str) -> set[Fraction]:
    """The possible values of digits with separators."""
    digits = digits.replace("٫", ".").replace("٬", ",")
    digits = digits.translate({ord(gap): None for gap in _GAP})
    marks = [sign for sign in digits if sign in ".,"]
    if not marks:
        return {Fraction(digits)}
    *groups, last = re.split("[.,]", digits)
    joined = "".join(groups)
    as_groups = len(groups[0]) in (1, 2, 3) and groups[0] != "0" and len(last) == 3
    middle_fits = all(len(group) in (2, 3) for group in groups[1:])
    if len(set(marks)) == 2:
        one_decimal_mark = marks.count(marks[-1]) == 1
        return {Fraction(f"{joined}.{last}")} if one_decimal_mark and middle_fits else set()
    if len(marks) > 1:
        return {Fraction(joined + last)} if as_groups and middle_fits else set()
    decimal = Fraction(f"{joined or '0'}.{last}")
    return {decimal, Fraction(joined + last)} if as_groups else {decimal}


def same_number(readings: frozenset[Fraction], answer: str) -> bool:
    """Whether one of the possible values `readings` equals the number in the answer key."""
    right = exact_number(answer)
    if right is None or not readings:
        return False
    decimals = len(answer.partition(".")[2]) if "." in answer and "e" not in answer.lower() else 0
    for given in readings:
        # A fraction with a repeating decimal, such as 1/3, can equal a decimal answer only after rounding.
        rounds_to_right = _is_repeating(given) and decimals and abs(given - right) <= Fraction(1, 2 * 10**decimals)
        if given == right or rounds_to_right:
            return True
    return False


def _is_repeating(value: Fraction) -> bool:
    """Whether the decimal expansion of `value` does not terminate."""
    below = value.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below != 1
