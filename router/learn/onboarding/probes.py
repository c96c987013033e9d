"""Probes: labelled prompts that a card is asked to estimate its ability, from a folder laid out as a routing data set.

A line of `prompts.jsonl[.gz]` has, beside `prompt_id`, `prompt` (or `messages`) and `domain`, an `answer` (several in a
list: any of them is right), and optionally `grader`, `difficulty` (1 easy … 5 hard) and `language` (`en`, `de` …).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from router.errors import FileError, did_you_mean
from router.learn.data.prompts import PromptRow, read_prompt_rows
from router.learn.data.text_file import optional_file
from router.learn.onboarding.answers import exact_number, normal_text, options_in
from router.learn.onboarding.graders import GRADERS, Grade, grade

_FILE = "prompts.jsonl"
_LEVELS = range(1, 6)
# Matches a prompt that already asks for a final answer in some form.
_HAS_ANSWER_FORMAT = re.compile(
    r"(answer|antwort|réponse|respuesta|ответ|答案|答え|الإجابة|उत्तर|resposta)\s?[::]|\\boxed", re.I
)
_PLACEHOLDERS = {"choice": "letter", "number": "number", "text": "words", "list": "items", "output": "output"}
_ANSWER_FORMAT: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "en": (
        'End your reply with a line of the form "Answer: {}".',
        {"letter": "<letter>", "number": "<number>", "words": "<answer>", "items": "<items, separated by commas>"}
        | {"output": "<output>"},
    ),
    "de": (
        'Beende deine Antwort mit einer Zeile der Form "Antwort: {}".',
        {"letter": "<Buchstabe>", "number": "<Zahl>", "words": "<Antwort>"},
    ),
    "fr": (
        'Termine ta réponse par une ligne de la forme "Réponse : {}".',
        {"letter": "<lettre>", "number": "<nombre>", "words": "<réponse>"},
    ),
    "es": (
        'Termina tu respuesta con una línea de la forma "Respuesta: {}".',
        {"letter": "<letra>", "number": "<número>", "words": "<respuesta>"},
    ),
    "pt": (
        'Termina a tua resposta com uma linha da forma "Resposta: {}".',
        {"letter": "<letra>", "number": "<número>", "words": "<resposta>"},
    ),
    "ru": (
        'Закончи свой ответ строкой вида "Ответ: {}".',
        {"letter": "<буква>", "number": "<число>", "words": "<ответ>"},
    ),
    "zh": ("请在最后一行写“答案:{}”。", {"letter": "<字母>", "number": "<数字>", "words": "<答案>"}),
    "ja": ("最後の行に「答え:{}」と書いてください。", {"letter": "<記号>", "number": "<数字>", "words": "<答え>"}),
    "ar": (
        'اختم إجابتك بسطر على الشكل "الإجابة: {}".',
        {"letter": "<الحرف>", "number": "<العدد>", "words": "<الجواب>"},
    ),
    "hi": (
        'अपने जवाब के अंत में एक पंक्ति लिखें: "उत्तर: {}"।',
        {"letter": "<अक्षर>", "number": "<संख्या>", "words": "<उत्तर>"},
    ),
}


class Probe(Struct, frozen=True):
    """A prompt with its right answers and the grader that recognises them.

    `turns` are the human turns, from which a predictor computes features; `messages` are what is sent, without the
    request for an answer line. `difficulty` is from 1 to 5, 0 where the set states none.
    """

    id: str
    turns: tuple[str, ...]
    messages: tuple[dict[str, Any], ...]
    answers: tuple[Any, ...]
    grader: str
    domain: str = ""
    difficulty: int = 0
    language: str = "en"

    @property
    def prompt(self) -> str:
        """The newest human turn."""
        return self.turns[-1]

    @property
    def key(self) -> tuple[str, str]:
        """The probe's id and text, as in the key of an outcome."""
        return self.id, self.prompt

    def request_messages(self) -> list[dict[str, Any]]:
        """The messages to send; a request for an answer line is added where they have none."""
        placeholder = _PLACEHOLDERS.get(self.grader)
        *before, last = self.messages
        if (
            placeholder is None
            or not isinstance(last.get("content"), str)
            or _HAS_ANSWER_FORMAT.search(last["content"])
        ):
            return [*before, last]
        sentence, words = _ANSWER_FORMAT.get(self.language, _ANSWER_FORMAT["en"])
        if placeholder not in words:
            sentence, words = _ANSWER_FORMAT["en"]
        return [*before, {**last, "content": f"{last['content']}\n\n{sentence.format(words[placeholder])}"}]

    def grade(self, reply: str) -> Grade:
        """Grade `reply`: whether it gives a right answer."""
        return grade(self.grader, reply, self.answers, options_in(self.prompt) if self.grader == "choice" else None)


class _Meta(Struct):
    name: str | None = None


class ProbeSet(Struct, frozen=True):
    """A named set of probes."""

    name: str
    probes: tuple[Probe, ...]


def load_probes(folder: Path) -> ProbeSet:
    """Read the probes in `folder`. Raises FileError naming the line whose answer is missing or cannot be graded.

    Where a line names no grader, the answer determines it: the letter of an option is a `choice`, a number a `number`,
    an object `json`, anything else `text`.
    """
    file = optional_file(folder, _FILE)
    if file is None:
        if not folder.exists():
            problem = "there is no such folder of probes"
        elif folder.is_file():
            problem = "is a file; name the folder that contains it"
        else:
            problem = f"contains no {_FILE} (or {_FILE}.gz)"
        raise FileError(str(folder), None, problem)
    probes = tuple(probe_of(row, file) for row in read_prompt_rows(file))
    return ProbeSet(_name(folder), probes)


def _name(folder: Path) -> str:
    """The name of the set: as `meta.json` states it, else that of the folder."""
    file = folder / "meta.json"
    try:
        stated = msgspec.json.decode(file.read_bytes(), type=_Meta).name if file.is_file() else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(str(file), None, f"cannot be read: {error}") from None
    return stated or folder.resolve().name


def probe_of(row: PromptRow, file: Path) -> Probe:
    """The probe that a row of a file describes. Raises FileError naming its line; see `load_probes`."""
    line, fields, prompt = row
    if fields.get("answer") in (None, "", []):
        hint = did_you_mean("answer", fields) if "answer" not in fields else ""
        raise FileError(str(file), line, f"answer: is missing; a probe needs one to be graded{hint}")
    grader, answers = fields.get("grader"), fields["answer"]
    if grader is None:
        grader = _likely_grader(answers, prompt.turns[-1])
    elif grader not in GRADERS:
        known = f"expected one of {', '.join(GRADERS)}"
        raise FileError(str(file), line, f"grader: {known}{did_you_mean(str(grader), GRADERS)}")
    difficulty, language = fields.get("difficulty", 0), fields.get("language", "en")
    if difficulty != 0 and (isinstance(difficulty, bool) or difficulty not in _LEVELS):
        raise FileError(str(file), line, "difficulty: expected a whole number from 1 (easy) to 5 (hard)")
    if not isinstance(language, str):
        raise FileError(str(file), line, "language: expected a code such as en")
    try:
        accepted = _answers(grader, answers)
    except ValueError as error:
        raise FileError(str(file), line, f"answer: {error}") from None
    messages = fields.get("messages") or ({"role": "user", "content": prompt.turns[-1]},)
    return Probe(
        id=prompt.id,
        turns=prompt.turns,
        messages=tuple(messages),
        answers=accepted,
        grader=grader,
        domain=prompt.domain,
        difficulty=difficulty,
        language=language,
    )


def _likely_grader(answer: Any, prompt: str) -> str:
    first = answer[0] if isinstance(answer, list) else answer
    if isinstance(first, dict):
        return "json"
    if str(first).strip().upper() in options_in(prompt):
        return "choice"
    return "number" if exact_number(str(first)) is not None else "text"


def _answers(grader: str, answer: Any) -> tuple[Any, ...]:
    """The right answers in the form that `grade` takes. Raises ValueError that states what was expected."""
    if grader == "json":
        return (answer,)
    if grader == "list":
        several: Sequence[Any] = answer if isinstance(answer, list) else str(answer).split(",")
        items = tuple(str(item).strip() for item in several)
        if not all(map(normal_text, items)):
            raise ValueError('the grader `list` expects items in order, none empty, such as ["3", "5"] or 3, 5')
        return (items,)
    texts = tuple(_text(text) for text in (answer if isinstance(answer, list) else [answer]))
    if grader == "choice" and (
        invalid := next((text for text in texts if not re.fullmatch("[A-Ja-j]", text.strip())), None)
    ):
        raise ValueError(f'the grader `choice` expects the letter of an option, got "{invalid[:40]}"')
    if grader == "number" and (invalid := next((text for text in texts if exact_number(text) is None), None)):
        raise ValueError(f'the grader `number` expects a number such as 1234.5 or 3/4, got "{invalid[:40]}"')
    if grader == "text" and not all(map(normal_text, texts)):
        raise ValueError("the grader `text` ignores punctuation, and this is only that; use `output` or `whole`")
    return texts


def _text(answer: Any) -> str:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f"expected a text or a number, or a list of them, got {json.dumps(answer)[:40]}")
    return answer if isinstance(answer, str) else f"{answer!r}"
