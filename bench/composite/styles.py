"""Styles in which people, programs and chat templates write several tasks into one prompt, in eleven languages.

A style takes the tasks, and solved tasks as examples, which only some styles show.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence

from bench.composite.prompts import Task

Style = Callable[[Sequence[Task], Sequence[Task]], str]


def _each(form: str, joint: str = "\n", before: str = "", after: str = "") -> Style:
    """Each task in a form that may use `{t}`, `{n}`, `{letter}`, `{roman}`, `{word}`, `{arabic}` and `{han}`."""

    def write(tasks: Sequence[Task], _: Sequence[Task]) -> str:
        return before + joint.join(_filled(form, number, task) for number, task in enumerate(tasks)) + after

    return write


def _filled(form: str, number: int, task: Task) -> str:
    values = {
        "n": str(number + 1),
        "letter": "abcdefghij"[number % 10],
        "Letter": "ABCDEFGHIJ"[number % 10],
        "roman": ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")[number % 10],
        "word": ("One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")[number % 10],
        "arabic": "".join(chr(0x660 + int(digit)) for digit in str(number + 1)),
        "han": "一二三四五六七八九十"[number % 10],
        "circled": chr(0x2460 + number),
        "target": task.target or "yes",
        "json": json.dumps(task.text, ensure_ascii=False),
    }
    for name, value in values.items():
        form = form.replace("{" + name + "}", value)
    return form.replace("{t}", task.text)


def _shown(form: str, answered: str, between: str, joint: str = "\n", first: int = 0) -> Style:
    """Solved examples in the form `answered`, the text `between`, then the tasks, numbered on after `first`."""

    def write(tasks: Sequence[Task], shots: Sequence[Task]) -> str:
        examples = joint.join(_filled(answered, number, task) for number, task in enumerate(shots[: first or 2]))
        asked = joint.join(_filled(form, number + first, task) for number, task in enumerate(tasks))
        return f"{examples}{between}{asked}"

    return write


def _in_groups(form: str, answer: str, title: str, announcement: str, joint: str = "\n") -> Style:
    """Two whole examples, each with as many tasks and the answers after them, then the tasks."""

    def write(tasks: Sequence[Task], shots: Sequence[Task]) -> str:
        half = len(shots) // 2
        examples = [
            f"{_filled(title, number, shots[0])}"
            f"{joint.join(_filled(form, place, task) for place, task in enumerate(part))}\n"
            + "\n".join(_filled(answer, place, task) for place, task in enumerate(part))
            for number, part in enumerate((shots[:half], shots[half:]))
        ]
        asked = joint.join(_filled(form, place, task) for place, task in enumerate(tasks))
        return "\n\n".join(examples) + f"\n\n{announcement}{asked}"

    return write


def _json_array(tasks: Sequence[Task], _: Sequence[Task], key: str = "") -> str:
    listed: Sequence[object] = [{key: task.text} if key else task.text for task in tasks]
    return f"Answer each of the following questions.\n{json.dumps(listed, ensure_ascii=False, indent=2)}"


_BLOCK = "[INST] {t} [/INST]"
_BELOW = "Following the example above, generate answers to the questions below:\n"

STYLES: Mapping[str, Mapping[str, Style]] = {
    "instruction blocks": {
        "a line each": _each(_BLOCK),
        "no blanks": _each("[INST]{t}[/INST]", ""),
        "on lines of their own": _each("[INST]\n{t}\n[/INST]", "\n\n"),
        "between <s> and </s>": _each("<s>[INST] {t} [/INST]</s>", ""),
        "after <s> only": _each("<s>[INST] {t} [/INST]", "\n"),
        "numbered": _each("{n}. [INST] {t} [/INST]"),
        "labelled": _each("Question {n}: [INST] {t} [/INST]", "\n\n"),
        "instructions before": _each(_BLOCK, " ", "Answer the questions below: "),
        "instructions after": _each(_BLOCK, "\n", "", "\nGive the answers as a numbered list."),
        "instructions before and after": _each(
            _BLOCK, "\n", "You get several tasks. Solve all.\n", "\n\nOne line for each answer, please."
        ),
        "with a system text": _each(_BLOCK, " ", "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>> [/INST] Sure. "),
        "lower case": _each("[inst] {t} [/inst]"),
    },
    "instruction blocks after examples": {
        "answers after each group": _in_groups(_BLOCK, "{n}. {target}", "Example {n}: ", _BELOW),
        "groups on one line": _in_groups(
            _BLOCK, "{n}. {target}", "Example {n}:\n", "Answer the questions below:\n", " "
        ),
        "answers after each block": _shown(
            _BLOCK, f"{_BLOCK} {{target}}", "\nFollow the examples above and answer the questions below:\n"
        ),
        "answers with </s>": _shown("<s>[INST] {t} [/INST]", "<s>[INST] {t} [/INST] {target} </s>", "\n"),
        "numbered": _in_groups("{n}. [INST] {t} [/INST]", "{n}. {target}", "Example {n}:\n", "Now the questions:\n"),
        "examples in words": _each(
            _BLOCK, "\n", "Example 1: for 'big' write 'small'.\nExample 2: for 'hot' write 'cold'.\nNow answer:\n"
        ),
    },
    "chat templates": {
        "<|user|>": _each("<|user|>\n{t}"),
        "<|user|> with an end": _each("<|user|>\n{t}<|end|>"),
        "<|im_start|>": _each("<|im_start|>user\n{t}<|im_end|>"),
        "headers": _each("<|start_header_id|>user<|end_header_id|>\n\n{t}<|eot_id|>", ""),
        "turns": _each("<start_of_turn>user\n{t}<end_of_turn>"),
        "open for the assistant": _each("<|user|>\n{t}</s>", "\n", "", "\n<|assistant|>\n"),
        "after answered turns": _shown("<|user|>\n{t}", "<|user|>\n{t}\n<|assistant|>\n{target}", "\n"),
        "after a system text": _each(
            "<|im_start|>user\n{t}<|im_end|>", "\n", "<|im_start|>system\nBe brief.<|im_end|>\n"
        ),
    },
    "instructions and responses": {
        "### Instruction": _each("### Instruction:\n{t}", "\n\n"),
        "with empty responses": _each("### Instruction:\n{t}\n\n### Response:", "\n\n"),
        "numbered": _each("### Instruction {n}:\n{t}", "\n\n"),
        "after answered ones": _shown(
            "### Instruction:\n{t}", "### Instruction:\n{t}\n\n### Response:\n{target}", "\n\n", "\n\n"
        ),
        "with a preamble": _each(
            "### Instruction:\n{t}\n", "\n", "Below are instructions that describe tasks. Write a response to each.\n\n"
        ),
        "Instruction 1": _each("Instruction {n}: {t}"),
        "USER": _each("USER: {t}", "\n", "Reply to every message.\n"),
    },
    "labels": {
        "Q1:": _each("Q1: {t}".replace("1", "{n}")),
        "Q1 in brackets": _each("(Q{n}) {t}", "\n\n"),
        "Q: without a number": _each("Q: {t}", "\n\n", "Answer each question.\n\n"),
        "Q: with empty answers": _each("Q{n}: {t}\nA{n}:", "\n\n"),
        "Q: after answered ones": _shown("Q: {t}", "Q: {t}\nA: {target}", "\n\n", "\n\n"),
        "Question 1:": _each("Question {n}: {t}", "\n\n"),
        "Question 1, on lines": _each("Question {n}\n{t}", "\n\n"),
        "Question 1 of 3": _each("Question {n} of {many}: {t}".replace("{many}", "5"), "\n\n"),
        "Question 1 after answered ones": _shown(
            "Question {n}: {t}", "Question {n}: {t}\nAnswer: {target}", "\n", "\n", first=2
        ),
        "Task 1:": _each("Task {n}: {t}"),
        "Task 1 with a preamble and an end": _each(
            "Task {n}: {t}", "\n", "You will be given several tasks.\n\n", "\n\nAnswer every task in one line."
        ),
        "[Task 1]": _each("[Task {n}]\n{t}", "\n\n"),
        "(Task 1)": _each("(Task {n}) {t}"),
        "Task 1 -": _each("Task {n} - {t}"),
        "TASK ONE:": _each("TASK {word}: {t}", "\n\n"),
        "Task #1": _each("Task #{n}: {t}"),
        "Problem 1.": _each("Problem {n}. {t}", "\n\n"),
        "Request 1:": _each("Request {n}: {t}"),
        "Prompt 1:": _each("Prompt {n}: {t}", "\n\n", "Answer all prompts.\n\n"),
        "Input 1:": _each("Input {n}: {t}", "\n\n", "Answer all of the following inputs.\n\n"),
        "Subtask 1:": _each("Subtask {n}: {t}", "\n\n"),
        "Item 1:": _each("Item {n}: {t}", "\n\n", "Answer the following items.\n\n"),
        "Exercise A": _each("Exercise {Letter}: {t}", "\n\n"),
        "a rule between": _each("Question {n}: {t}", "\n\n---\n\n"),
    },
    "Markdown": {
        "## Task 1": _each("## Task {n}\n\n{t}", "\n\n"),
        "### Question 1:": _each("### Question {n}:\n{t}", "\n\n"),
        "**Task 1**": _each("**Task {n}**\n{t}", "\n\n"),
        "**Question 1:**": _each("**Question {n}:** {t}", "\n\n"),
        "**1.**": _each("**{n}.** {t}", "\n\n", "Please answer all questions below.\n\n"),
        "## 1.": _each("## {n}. {t}", "\n\n", "Answer the questions below.\n\n"),
        "- **Task 1**:": _each("- **Task {n}**: {t}"),
        "under a title": _each("## Task {n}\n{t}", "\n\n", "# Homework\n\nSolve all tasks.\n\n"),
        "with a closing section": _each(
            "## Question {n}\n{t}", "\n\n", "", "\n\n## Format\nGive each answer on a line of its own."
        ),
    },
    "numbers": {
        "1.": _each("{n}. {t}", "\n", "Answer the following questions:\n"),
        "1. with blank lines": _each("{n}. {t}", "\n\n", "Answer the following questions:\n\n"),
        "1)": _each("{n}) {t}", "\n", "Solve these problems:\n"),
        "(1)": _each("({n}) {t}", "\n", "Please complete the tasks below.\n"),
        "[1]": _each("[{n}] {t}", "\n", "Do the following tasks:\n"),
        "1:": _each("{n}: {t}", "\n", "Answer all questions:\n"),
        "#1": _each("#{n} {t}", "\n", "Answer all questions:\n"),
        "circled": _each("{circled} {t}", "\n", "Answer all questions:\n"),
        "I.": _each("{roman}. {t}", "\n\n", "Answer all questions.\n\n"),
        "a)": _each("{letter}) {t}", "\n\n", "I need help with several things:\n\n"),
        "with an end": _each(
            "{n}. {t}", "\n", "I have a few questions for you:\n", "\n\nThanks! Please keep every answer short."
        ),
        "a shown format": _each("{n}. {t}", "\n", "Answer in the form:\n1. <answer>\n2. <answer>\n\nQuestions:\n"),
        "examples before": _shown("{n}. {t}", "Example: {t} -> {target}", "\n\nNow answer these questions:\n"),
    },
    "XML": {
        "<task>": _each("<task>{t}</task>"),
        "<task> on lines": _each("<task>\n{t}\n</task>", "\n\n", "Do all of this.\n"),
        "<task id>": _each('<task id="{n}">{t}</task>'),
        "<task_1>": _each("<task_{n}>\n{t}\n</task_{n}>"),
        "<question> in <questions>": _each("<question>{t}</question>", "\n", "<questions>\n", "\n</questions>"),
        "<instruction>": _each("<instruction>{t}</instruction>"),
        "<input>": _each("<input>{t}</input>", "\n", "Answer each input.\n"),
        "<q1>": _each("<q{n}>{t}</q{n}>"),
        "<user>": _each("<user>{t}</user>", "\n", "Reply to each message.\n"),
        "after answered ones": _shown(
            "<question>{t}</question>", "<question>{t}</question>\n<answer>{target}</answer>", "\n"
        ),
        "after <example>s": _shown(
            "<question>{t}</question>",
            "<example>\n<question>{t}</question>\n<answer>{target}</answer>\n</example>",
            "\n",
        ),
    },
    "JSON": {
        "lines": _each('{"task": {json}}', "\n", "Solve each task:\n"),
        "lines with ids": _each('{"id": {n}, "question": {json}}'),
        "an array of texts": _json_array,
        "an array of objects": functools.partial(_json_array, key="question"),
    },
    "separators": {
        "---": _each("{t}", "\n\n---\n\n", "Answer the questions below, which are separated by ---.\n\n---\n\n"),
        "===": _each("{t}", "\n=====\n", "Solve all of these tasks:\n=====\n"),
        "bullets": _each("- {t}", "\n", "Please answer the following questions:\n"),
    },
    "other languages": {
        "German, Aufgabe": _each("Aufgabe {n}: {t}", "\n\n"),
        "German, numbers": _each("{n}. {t}", "\n", "Bitte beantworten Sie die folgenden Fragen:\n"),
        "German, with an end": _each("Frage {n}: {t}", "\n", "", "\n\nBitte antworte jeweils mit einem Wort."),
        "German, Auftrag": _each("Auftrag {n}: {t}", "\n\n"),
        "French, Question": _each("Question {n} : {t}", "\n\n"),
        "French, numbers": _each("{n}. {t}", "\n", "Veuillez répondre aux questions ci-dessous :\n"),
        "French, Tâche": _each("Tâche n° {n} : {t}", "\n\n"),
        "French, with an end": _each(
            "{n}) {t}", "\n", "Réponds aux questions suivantes :\n", "\n\nRéponds à chaque question en un mot."
        ),
        "Spanish, Pregunta": _each("Pregunta {n}: {t}", "\n\n"),
        "Spanish, numbers": _each("{n}. {t}", "\n", "Por favor, responda a las siguientes preguntas:\n"),
        "Spanish, Tarea": _each("**Tarea {n}:** {t}", "\n\n"),
        "Portuguese": _each("Pergunta {n}: {t}", "\n\n", "Responda às perguntas abaixo.\n\n"),
        "Italian": _each("Domanda {n}: {t}", "\n\n", "Rispondi a tutte le domande.\n\n"),
        "Russian, Вопрос": _each("Вопрос {n}: {t}", "\n\n"),
        "Russian, numbers": _each("{n}. {t}", "\n", "Ответьте на следующие вопросы:\n"),
        "Russian, Задание": _each("Задание {n}. {t}", "\n\n"),
        "Arabic, label": _each("السؤال {n}: {t}", "\n\n"),
        "Arabic, own digits": _each("{arabic}. {t}", "\n", "أجب عن الأسئلة التالية:\n"),
        "Japanese, 問題": _each("問題{n}：{t}", "\n\n"),
        "Japanese, タスク": _each("タスク{n}: {t}", "\n\n"),
        "Japanese, numbers": _each("{n}. {t}", "\n", "以下の質問にそれぞれ答えてください。\n"),
        "Japanese, 【質問1】": _each("【質問{n}】{t}", "\n"),
        "Chinese, 问题": _each("问题{n}：{t}", "\n"),
        "Chinese, 任务一": _each("任务{han}：{t}", "\n\n"),
        "Chinese, numbers": _each("{n}. {t}", "\n", "请依次回答下列问题：\n"),
        "Chinese, 【任务1】": _each("【任务{n}】\n{t}", "\n\n"),
        "Korean": _each("질문 {n}: {t}", "\n\n", "다음 질문에 답하세요.\n\n"),
    },
}
"""By their kind."""
