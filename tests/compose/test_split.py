# ruff: noqa: E501 - prompts are written as they are sent
"""Composite prompts are split into their tasks; a prompt with one task stays whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import split_prompt
from router.compose.split import split
from tests.compose import prompts_in_styles

COMPOSITE = {
    "instruction blocks after examples": (
        "Example 1: [INST] 2 + 2 [/INST] [INST] opposite of hot [/INST]\n1. 4\n2. cold\n"
        "Following the example above, generate answers to the questions below:\n"
        "[INST] 3 * 7 [/INST]\n[INST] plural of mouse [/INST]\n",
        ("3 * 7", "plural of mouse"),
    ),
    "instruction blocks alone": (
        "[INST] Name a prime. [/INST] [INST] Name a city. [/INST]",
        ("Name a prime.", "Name a city."),
    ),
    "answered instruction blocks are examples": (
        "[INST] big [/INST] [INST] tall [/INST]\n1. small\n2. short\n[INST] hot [/INST] [INST] wet [/INST]",
        ("hot", "wet"),
    ),
    "numbered questions": (
        "1. What is the boiling point of ethanol?\n2. Who painted Guernica?\n3. Translate 'good night' into Polish.",
        ("What is the boiling point of ethanol?", "Who painted Guernica?", "Translate 'good night' into Polish."),
    ),
    "numbered in brackets, with a preamble": (
        "Hi! Please answer the following questions.\n\n(1) Why is the sky blue?\n(2) How do magnets work?",
        ("Why is the sky blue?", "How do magnets work?"),
    ),
    "announced tasks need not look like requests": (
        "Solve these problems:\n1) not ( True ) and ( True ) is\n2) ((-1 + 2) * 5) =\n3) 17 mod 5 =",
        ("not ( True ) and ( True ) is", "((-1 + 2) * 5) =", "17 mod 5 ="),
    ),
    "items with options of their own": (
        "Answer all questions.\n1. Which is a mammal?\nOptions:\n(A) trout\n(B) whale\n2. Which is a fruit?\nOptions:\n(A) pear\n(B) leek",
        ("Which is a mammal?\nOptions:\n(A) trout\n(B) whale", "Which is a fruit?\nOptions:\n(A) pear\n(B) leek"),
    ),
    "labelled questions": (
        "Question 1: Is 91 prime?\nQuestion 2: What does HTTP 418 mean?",
        ("Is 91 prime?", "What does HTTP 418 mean?"),
    ),
    "labelled questions about one passage": (
        "Anna has a red bike and Ben a blue one.\n\nQ1: Who has the blue bike?\nQ2: Write a haiku about the red one.",
        ("Who has the blue bike?", "Write a haiku about the red one."),
    ),
    "markdown headings": (
        "## Task 1\nSort 4, 2, 9.\n\n## Task 2\nExplain recursion to a child.",
        ("Sort 4, 2, 9.", "Explain recursion to a child."),
    ),
    "bold parts with letters": (
        "**Part A:** Derive the formula for the area of a circle.\n**Part B:** Write a limerick about circles.",
        ("Derive the formula for the area of a circle.", "Write a limerick about circles."),
    ),
    "answered questions are examples": (
        "Question 1: 2 + 3?\nAnswer: 5\nQuestion 2: Capital of Peru?\nAnswer: Lima\n"
        "Question 3: 9 * 3?\nQuestion 4: Capital of Chad?",
        ("9 * 3?", "Capital of Chad?"),
    ),
    "first, then, finally": (
        "First, summarize the plot of Hamlet in two sentences. Then compute 17 * 23. Finally, write a regex for ISO dates.",
        ("summarize the plot of Hamlet in two sentences.", "compute 17 * 23.", "write a regex for ISO dates."),
    ),
    "tags": (
        "<task>Compute 12!</task>\n<task>Name three Baltic ports.</task>",
        ("Compute 12!", "Name three Baltic ports."),
    ),
    "tags with attributes after an instruction": (
        'Be brief.\n<question id="1">What is a monad?</question>\n<question id="2">Who was Ada Lovelace?</question>',
        ("What is a monad?", "Who was Ada Lovelace?"),
    ),
    "rules between requests": (
        "Translate 'thank you' into Thai.\n---\nWhat is the derivative of x^3?",
        ("Translate 'thank you' into Thai.", "What is the derivative of x^3?"),
    ),
    "bullets that were announced": (
        "Please help me with these tasks:\n- Write a SQL query for the ten oldest users\n- Suggest a name for a cat",
        ("Write a SQL query for the ten oldest users", "Suggest a name for a cat"),
    ),
    "German labels": (
        "Aufgabe 1: Berechne 7 mal 8.\nAufgabe 2: Übersetze 'Haus' ins Englische.",
        ("Berechne 7 mal 8.", "Übersetze 'Haus' ins Englische."),
    ),
    "Spanish numbers": (
        "Responde a las siguientes preguntas:\n1. ¿Cuál es la capital de Bolivia?\n2. ¿Quién escribió Rayuela?",
        ("¿Cuál es la capital de Bolivia?", "¿Quién escribió Rayuela?"),
    ),
    "Chinese labels": (
        "问题1：什么是光合作用？\n问题2：把“早上好”翻译成法语。",
        ("什么是光合作用？", "把“早上好”翻译成法语。"),
    ),
    "a closing instruction belongs to all": (
        "1. What is the capital of Mali?\n2. What is 5 factorial?\n\nAnswer each in one word.",
        ("What is the capital of Mali?", "What is 5 factorial?"),
    ),
    "code inside an item": (
        "Task 1: What does this print?\n```python\n# Task 2: not a task\nprint(1)\n```\nTask 2: Fix the typo in 'teh'.",
        ("What does this print?\n```python\n# Task 2: not a task\nprint(1)\n```", "Fix the typo in 'teh'."),
    ),
}

SINGLE = {
    "one question": "What is the capital of France?",
    "nothing": "",
    "one instruction block": "[INST] Who are you? [/INST]",
    "a transcript in instruction blocks": "[INST] hi [/INST] Hello! [INST] What is 2+2? [/INST]",
    "few-shot examples of one task": "Q: 2+2?\nA: 4\nQ: 3+3?\nA: 6\nQ: 4+4?\nA:",
    "numbered clues and one question": (
        "There are three houses.\n1. The red house is left of the blue one.\n2. The cat lives in the blue house.\n"
        "3. The dog is in the middle.\n\nWho owns the fish?"
    ),
    "numbered options": "Which is the largest planet?\n1. Mars\n2. Jupiter\n3. Venus",
    "questions as the object of one task": "Translate these into German:\n1. Where is the station?\n2. What time is it?",
    "questions to choose from": "Which of these survey questions is biased?\n1. Do you like tea?\n2. Why is tea better?",
    "rules of one task": "Write an essay about bees.\n1. Use simple words.\n2. Avoid the passive voice.\n3. Keep it under 200 words.",
    "steps with a question after them": "I did this:\n1. Open the app.\n2. Click on save.\nWhat did I do wrong?",
    "an argument with first": "First of all, whoever sings is happy. Then nobody who is sad sings. Is the argument valid?",
    "a story with then": "First, the farmer sold a cow. Then he bought two goats. Finally, he went home. How many animals has he?",
    "two paragraphs": "I love hiking in the Alps.\n\nWhich boots do you recommend?",
    "a list of ingredients": "What can I cook with this?\n- eggs\n- flour\n- sugar",
    "code with numbered comments": "Why does this fail?\n```\n# 1. open the file\n# 2. read it\n```",
    "a gap in the numbers": "1. What is this?\n3. What is that?",
    "a recipe": "Improve my recipe:\n1. Mix the flour and water.\n2. Bake for an hour.",
    "questions for a form": "Write a quiz with these questions:\n1. Who was Cleopatra?\n2. Where is Petra?",
    "sections of a document": "Summarize the report.\n\nPart 1: Sales rose by 4 %.\nPart 2: Costs fell by 2 %.",
}


@pytest.mark.parametrize("style", COMPOSITE)
def test_a_composite_prompt_gives_its_tasks_alone(style: str) -> None:
    prompt, tasks = COMPOSITE[style]
    assert split_prompt(prompt) == tasks


@pytest.mark.parametrize("style", SINGLE)
def test_a_single_task_is_not_split(style: str) -> None:
    assert len(split_prompt(SINGLE[style])) == 1


@pytest.mark.parametrize("style", prompts_in_styles.COMPOSITE)
def test_every_way_to_count_and_every_language_is_split(style: str) -> None:
    prompt, count = prompts_in_styles.COMPOSITE[style]
    tasks = split_prompt(prompt)
    assert len(tasks) == count
    assert all(task in prompt for task in tasks)


@pytest.mark.parametrize("style", prompts_in_styles.SINGLE)
def test_one_task_in_any_style_or_language_is_not_split(style: str) -> None:
    assert split_prompt(prompts_in_styles.SINGLE[style]) == (prompts_in_styles.SINGLE[style].strip(),)


def test_a_bare_announcement_is_no_instruction_and_one_that_says_how_is() -> None:
    assert split("Please answer the following questions:\n1. What is tea?\n2. Who was Ada?").instructions == ""
    kept = split("Answer the following questions in French:\n1. What is tea?\n2. Who was Ada?").instructions
    assert kept == "Answer the following questions in French:"


def test_the_words_of_the_issue_are_split() -> None:
    prompt = "Example 1: … Answer the questions below: [INST] A [/INST] [INST] B [/INST]"
    assert split_prompt(prompt) == ("A", "B")


def test_examples_and_common_instructions_are_kept_apart() -> None:
    parts = split(
        "You are a tutor.\nQuestion 1: 2 + 3?\nAnswer: 5\nQuestion 2: 9 * 3?\nQuestion 3: Capital of Chad?\n\nAnswer each in one word."
    )
    assert [each.text for each in parts.segments] == ["9 * 3?", "Capital of Chad?"]
    assert parts.instructions == "You are a tutor.\nAnswer each in one word."
    assert parts.examples == "Question 1: 2 + 3?\nAnswer: 5"


@pytest.mark.parametrize(
    ("prompt", "chained"),
    [
        ("1. Write a poem about rain.\n2. Translate it into French.", [False, True]),
        ("Task 1: What is 17 * 3?\nTask 2: Multiply the result of task 1 by 2.", [False, True]),
        ("1. List five rivers.\n2. What is a fjord?", [False, False]),
        (
            "1. Write a function that reverses a list.\n2. Write tests for the function above.\n3. Name a river.",
            [False, True, False],
        ),
        ("First, summarize Hamlet. Then translate your summary into Danish.", [False, True]),
    ],
)
def test_a_task_that_points_back_depends_on_those_before(prompt: str, chained: list[bool]) -> None:
    assert [each.depends for each in split(prompt).segments] == chained


def test_a_numbered_ask_is_known_as_numbered() -> None:
    assert split("1. What is a fjord?\n2. What is a lagoon?").is_numbered
    assert not split("<task>What is a fjord?</task><task>What is a lagoon?</task>").is_numbered


@given(st.text(max_size=300))
def test_any_text_can_be_split_and_no_task_is_empty(text: str) -> None:
    tasks = split_prompt(text)
    assert tasks
    assert len(tasks) == 1 or all(task.strip() for task in tasks)


@given(
    st.lists(
        st.sampled_from(["What is tea?", "Name a city.", "Compute 3 + 4.", "Who wrote Emma?"]), min_size=2, max_size=12
    )
)
def test_numbered_requests_come_back_in_order(tasks: list[str]) -> None:
    prompt = "\n".join(f"{number}. {task}" for number, task in enumerate(tasks, 1))
    assert split_prompt(prompt) == tuple(tasks)


@pytest.mark.parametrize("text", ["In F#, what does f <| x do?", "What is the token <|endoftext|> for?", "<|-"])
def test_a_prompt_about_the_tokens_of_chat_templates_is_one_task(text: str) -> None:
    assert split_prompt(text) == (text,)


def test_what_stands_after_the_last_turn_is_an_instruction() -> None:
    turn = "<|im_start|>user\nWrite a {}.<|im_end|>\n"
    found = split(turn.format("poem") + turn.format("story") + "Answer everything in French.")
    assert [segment.text for segment in found.segments] == ["Write a poem.", "Write a story."]
    assert "Answer everything in French." in found.instructions


def test_the_material_of_a_task_in_json_stays_with_it() -> None:
    tasks = split_prompt(
        'Answer each question.\n[{"question": "Who wrote it?", "passage": "Goethe wrote Faust."},'
        ' {"question": "When?", "passage": "In 1808."}]'
    )
    assert len(tasks) == 2
    assert "Goethe wrote Faust." in tasks[0]
    assert "In 1808." in tasks[1]


@pytest.mark.parametrize(
    "text",
    [
        "Which of these two is better?\nInstruction: Write a poem.\nInstruction: Write a story.",
        "How do I format [INST] hello [/INST] and [INST] bye [/INST] for Llama?",
        "User: How do I reset my password?\nBot: Go to the settings.\nUser: Where is that?",
        '[{"role": "user", "content": "Can you help me?"}, {"role": "assistant", "content": "What do you need?"}]',
    ],
)
def test_a_question_about_prompts_and_the_transcript_of_a_chat_are_one_task(text: str) -> None:
    assert split_prompt(text) == (text,)


@pytest.mark.parametrize(
    ("before", "repeated", "after"),
    [
        ("task: y\ntask", " ", "%"),
        ("1. One\na", "\n", "x\n2. Two"),
        ("1. One\na", " ", "x\n2. Two"),
        ("1. One", "\n", "\n2. Two"),
        ("1. One ", "_", "x\n2. Two"),
        ("1. ", "把", "\n2. Two"),
        ("</", "<q1>", ""),
        ("# One\n#", " ", ""),
    ],
)
def test_repeated_characters_take_no_time(before: str, repeated: str, after: str) -> None:
    split_prompt(before + repeated * (20_000 // len(repeated)) + after)
