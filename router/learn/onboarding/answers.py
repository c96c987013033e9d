"""What a model's reply says: its final answer, and the choice or the number in it. Pure functions of texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction

_LONGEST_REPLY = 200_000
_LONGEST_NUMBER = 60
_GREATEST_POWER = 300
_FEW_WORDS = 5


_THOUGHTS = re.compile(r"<(think|thinking|reasoning|thought)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHTS_END = re.compile(r"\A.*</(?:think|thinking|reasoning|thought)>", re.DOTALL | re.IGNORECASE)
_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0x2044: "/", 0x2212: "-", 0x00AD: None}


def spoken(reply: str) -> str:
    """`reply` without the model's thoughts."""
    said = _THOUGHTS.sub("", reply[:_LONGEST_REPLY])
    # Some servers hand on only the closing tag.
    return _THOUGHTS_END.sub("", said)


def in_ascii(text: str) -> str:
    """`text` with ASCII signs for full-width ones, and ASCII digits for those of any script."""
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
_MARKUP = r"[*_`~]*"
# Chinese, Japanese and Korean put no blank before a word or a number.
_NO_LETTER_BEFORE = r"(?<![^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
_AT_LINE_START = re.compile(
    rf"^[ \t]*(?:[#>\-•]+[ \t]*)?{_MARKUP}(?:{_WORDS}){_MARKUP}[ \t]*:{_MARKUP}|^\s*####(?=\s*[-+$]?[\d.])",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(rf"^[ \t]*(?:#+[ \t]*{_MARKUP}|\*\*)(?:{_WORDS})[*_:]*[ \t]*$", re.IGNORECASE | re.MULTILINE)
_ANYWHERE = re.compile(
    rf"{_NO_LETTER_BEFORE}{_MARKUP}(?:{_WORDS})(?:\s+to\s+(?:this|the|your)\s+question)?{_MARKUP}\s*(?::|\b(?:is|ist|lautet|est|es|é|è)\b\s*:?|[–—-](?=\s)|是|为|為|は|는|은)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\s*```\w*\s*\Z")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")


def final_answer(said: str) -> tuple[str, bool]:
    """The text of the final answer, and whether the reply marks it as such; else it is the reply's last line.

    A mark is a line that begins with `Answer:` in one of a dozen languages, or a LaTeX box; the last one counts.
    Where there is none, `the answer is …` inside a line does.
    """
    marks = [match.end() for pattern in (_AT_LINE_START, _HEADING) for match in pattern.finditer(said)]
    boxes = [match.start() for match in _BOXED.finditer(said)]
    if boxes and boxes[-1] > max(marks, default=-1):
        return stripped(_unboxed(said[boxes[-1] :])), True
    if not marks:
        marks = [match.end() for match in _ANYWHERE.finditer(said)]
    if marks:
        lines = (stripped(line) for line in said[max(marks) :].splitlines() if not _FENCE.match(line))
        return next((line for line in lines if line), ""), True
    return _unmarked(said), False


def _unmarked(said: str) -> str:
    """The answer of a reply that marks none: its last line, or a short first one that a longer text follows."""
    lines = [stripped(line) for line in said.strip().splitlines() if not _FENCE.match(line)]
    stated = [line for line in lines if line]
    if not stated:
        return ""
    first, last = stated[0], stated[-1]
    alone = len(lines) > 1 and lines[0] == first and not lines[1]
    return first if alone and len(first.split()) <= _FEW_WORDS < len(last.split()) else last


def _unboxed(text: str) -> str:
    """What the first LaTeX box in `text` holds; `text` where there is none, or where it is not closed."""
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
    """`line` without LaTeX, Markdown and quotes around it, and without the full stop at its end."""
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
_AROUND = "".join((*" .。!?!?,;:…\"'“”„«»「」_()[]",))


def normal_text(text: str) -> str:
    """`text` in one case and one form of each character, without an article in front and marks around it."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = " ".join(text.replace("*", "").replace("`", "").split()).strip(_AROUND)
    return _ARTICLE.sub("", text)


_OPTION = re.compile(r"^[ \t]*[(\[]?([A-J])[)\].:、][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_REJECTED = re.compile(r"\b(?:not|nicht|pas|no)\s+\(?[A-J]\b\)?", re.IGNORECASE)
_LEADING = re.compile(
    r"\A(?:(?:option|choice|answer)\s+)?[(\[*]*([A-Ja-j])[)\]*]*(?=\Z|\s*[).:,;—–\-]|\s)(.*)", re.DOTALL
)
_STANDING = re.compile(r"(?<![\w'’])[(\[*]*([A-J])[)\]*]*(?![\w'’])")
_REASON = re.compile(
    r"\A\s*(?:[.:,;—–(-]\s*)?(?:because|since|as|is|was|would|seems|weil|da|parce|car|porque|ist|est|es)\b",
    re.IGNORECASE,
)


def options_in(prompt: str) -> dict[str, str]:
    """The options that stand in `prompt` as lines `A) …`, `(A) …`, `A. …`; empty unless they run from A on."""
    found: dict[str, str] = {}
    for letter, text in _OPTION.findall(prompt.translate(_ASCII)):
        if letter == chr(ord("A") + len(found)):
            found[letter] = text
        elif letter == "A":
            # A worked example with options of its own may stand first.
            found = {"A": text}
    return found if len(found) > 1 else {}


def read_choice(content: str, options: Mapping[str, str]) -> str:
    """The one letter that `content` names, alone, with its text or by its text; empty where it is none or several."""
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
    others = {other for other in _STANDING.findall(rest) if other in allowed and other not in {letter, "A", "I"}}
    others |= {other for other in re.findall(r"(?:\(|\bor |\band |/|, ?|\boder )([A-J])\b", rest) if other in allowed}
    return letter if others <= {letter} else ""


def only_emphasised(said: str, options: Mapping[str, str]) -> str:
    """The one option that is set in bold in an unmarked reply."""
    bold = {read_choice(stripped(part), options) for part in re.findall(r"\*\*(.+?)\*\*", said)} - {""}
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
    """What the number in `content` may mean: `1.234` is 1.234 or, as in German, 1234. Empty where there is none.

    `= 7` at the end of a calculation counts, a remark in parentheses does not. Several different numbers are no
    answer; where `lenient`, the last one is.
    """
    text = content.replace("{,}", ",").replace(r"\,", "").replace(r"\!", "").replace(r"\%", "%").replace(r"\$", "$")
    text = _LATEX_FRACTION.sub(r"\1/\2", text)
    text = _POWER_OF_TEN.sub(lambda power: f"10^{power[1].translate(_SUPERSCRIPTS)}", text)
    found = _readings(text)
    if len(found) > 1 and (without := _readings(_ASIDE.sub(" ", text))):
        found = without
    if len(found) > 1 and re.search("[=≈]", text):
        found = _readings(re.split("[=≈]", text)[-1])
    if not found or (len(found) > 1 and not lenient) or (len(found) > 1 and _SEVERAL.search(text)):
        return frozenset()
    return found[-1]


def exact_number(text: str) -> Fraction | None:
    """The number that an answer key states: `1,234.5`, `-3/4`, `2e-3`; None where it is none."""
    text = text.strip().translate(_ASCII).lstrip("+")
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")
    if len(text) > _LONGEST_NUMBER or not re.fullmatch(
        r"-?(\d+/\d+|(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?)", text, re.ASCII
    ):
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _readings(text: str) -> list[frozenset[Fraction]]:
    """The different numbers in `text`, each with what it may mean."""
    found: dict[frozenset[Fraction], None] = {}
    for match in _NUMBER.finditer(text):
        power = int(match["e"] or match["power"] or 0)
        if abs(power) > _GREATEST_POWER or len(match[0]) > _LONGEST_NUMBER:
            continue
        sign = -1 if (match["sign"] or "").strip() not in ("", "+") else 1
        factor = Fraction(10) ** power * sign * _SCALES.get((match["scale"] or "").lower(), 1)
        below = _values(match["below"]) if match["below"] else {Fraction(1)}
        values = frozenset(value / under * factor for value in _values(match["digits"]) for under in below if under)
        found[values] = None
    return [values for values in found if values]


def _values(digits: str) -> set[Fraction]:
    """What digits with separators may stand for."""
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
    """Whether a number read as `readings` is the one that the answer key states."""
    right = exact_number(answer)
    if right is None or not readings:
        return False
    decimals = len(answer.partition(".")[2]) if "." in answer and "e" not in answer.lower() else 0
    for given in readings:
        # A fraction without end, such as 1/3, can only equal a decimal answer when rounded.
        endless = _has_no_end(given) and decimals and abs(given - right) <= Fraction(1, 2 * 10**decimals)
        if given == right or endless:
            return True
    return False


def _has_no_end(value: Fraction) -> bool:
    below = value.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below != 1
