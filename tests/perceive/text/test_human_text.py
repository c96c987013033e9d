from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.perceive.text.human_text import AT_LINE_START, INJECTED, human_text

QUESTION = "Why does the login test fail?"
TURNS = {
    "Claude Code": f"""<system-reminder>
As you answer the user's questions, you can use the following context:
# claudeMd
Codebase and user instructions are shown below. Be sure to adhere to these instructions.
</system-reminder>

{QUESTION}

<system-reminder>The TodoWrite tool hasn't been used recently.</system-reminder>""",
    "Claude Code, a slash command": f"""<command-message>review is running…</command-message>
<command-name>/review</command-name>
<command-args>{QUESTION}</command-args>""",
    "Claude Code, an open file": f"""<ide_opened_file>The user opened the file src/login.ts in the IDE. This may or may
not be related to the current task.</ide_opened_file>
{QUESTION}""",
    "Cline": f"""<task>
{QUESTION}
</task>

<environment_details>
# VSCode Visible Files
src/login.ts

# VSCode Open Tabs
src/login.ts, <nothing else>

# Current Time
1/15/2026, 10:12:01 AM (Europe/Berlin, UTC+1:00)

# Current Mode
ACT MODE
</environment_details>""",
    "Cline, an answer to a tool": f"""[attempt_completion] Result:
The user has provided feedback on the results.
<feedback>
{QUESTION}
</feedback>
<environment_details>
# Current Mode
ACT MODE
</environment_details>""",
    "Roo Code": f"""<user_message>
{QUESTION}
</user_message>""".replace("user_message", "task")
    + "\n<file_content path='a.ts'>\nexport {}\n</file_content>",
    "Cursor": f"""<additional_data>
Below are some helpful pieces of information about the current state:
<current_file>
Path: src/login.ts
Line: 12
</current_file>
<attached_files>
<file_contents>
```path=src/login.ts, lines=1-20
export function login() {{}}
```
</file_contents>
</attached_files>
</additional_data>

<user_query>
{QUESTION}
</user_query>""",
    "Cursor, beside rules": f"""<user_info>
OS Version: linux 6.8
Shell: /bin/zsh
</user_info>
<rules>
Always answer in German.
</rules>
<user_query>{QUESTION}</user_query>""",
    "GitHub Copilot": f"""<environment_info>
The user's current OS is: Linux
</environment_info>
<workspace_info>
There is no workspace currently open.
</workspace_info>
<context>
The current date is January 15, 2026.
</context>
<reminderInstructions>
You must keep going until the user's query is completely resolved.
</reminderInstructions>
<userRequest>
{QUESTION}
</userRequest>""",
    "Codex": f"""<environment_context>
  <cwd>/home/ada/shop</cwd>
  <approval_policy>on-request</approval_policy>
  <sandbox_mode>workspace-write</sandbox_mode>
  <shell>zsh</shell>
</environment_context>
{QUESTION}""",
    "Codex, user instructions": f"<user_instructions>\n\nRun `make check` first.\n\n</user_instructions>\n\n{QUESTION}",
    "Codex, from an editor": f"""# Context from my IDE setup:

## Active file: src/login.ts

## Open tabs:
- login.ts: src/login.ts

## My request for Codex:
{QUESTION}
""",
    "Codex, files": f"""
# Files mentioned by the user:

## report.pdf: /home/ada/report.pdf

## My request for Codex:
{QUESTION}""",
    "Gemini CLI": f"""{QUESTION}
--- Content from referenced files ---
Content from @src/login.ts:
export function login() {{}}
--- End of content ---""",
    "Gemini CLI, a session": f"""<session_context>
This is the Gemini CLI. We are setting up the context for our chat.
My operating system is: linux
</session_context>
{QUESTION}""",
    "Windsurf": f"""<USER_REQUEST>
{QUESTION}
</USER_REQUEST>
<ADDITIONAL_METADATA>
The current local time is: 2026-01-15T10:12:01+01:00.
</ADDITIONAL_METADATA>""",
    "aider": f"""{QUESTION}

# *SEARCH/REPLACE block* Rules:

Every *SEARCH/REPLACE block* must use this format:
1. The *FULL* file path alone on a line, verbatim.""",
    "Continue": f"""```ts src/login.ts (1-3)
export function login() {{
  return null
}}
```
{QUESTION}""",
    "OpenHands": f"""{QUESTION}
<REPOSITORY_INFO>
At the user's request, repository shop has been cloned to /workspace/shop.
</REPOSITORY_INFO>""",
    "a retrieval template": f"""### Task:
Respond to the user query using the provided context, incorporating inline citations.

<context>
<source id="1">Login needs a session cookie.</source>
</context>

<user_query>
{QUESTION}
</user_query>""",
    "retrieved documents": f"""<documents>
<document index="1">
<source>login.md</source>
Login needs a session cookie.
</document>
</documents>

{QUESTION}""",
    "a pasted tool result": f"""{QUESTION}
<tool_result>
AssertionError: 401 != 200
</tool_result>""",
}
HARNESS_ONLY = {
    "a reminder": "<system-reminder>Your todo list is empty.</system-reminder>",
    "Cline's tool result": "[read_file for 'src/login.ts'] Result:\nexport function login() {}\n",
    "Cline's tool result with details": "[execute_command for 'ls'] Result:\nCommand executed.\n"
    "<environment_details>\n# Current Mode\nACT MODE\n</environment_details>",
    "aider's files": "I have *added these files to the chat* so you can go ahead and edit them.\n\n"
    "login.py\n```\nx = 1\n```",
    "aider's repository map": "Here are summaries of some files present in my git repository.\nDo not propose changes.",
    "Codex's AGENTS.md": "# AGENTS.md instructions for /home/ada/shop\n\n<INSTRUCTIONS>\nBe brief.\n</INSTRUCTIONS>",
    "Claude Code's local command": "<local-command-stdout>Login successful</local-command-stdout>",
    "an interruption": "[Request interrupted by user for tool use]",
    "OpenHands' observation": "EXECUTION RESULT of [run]:\ntotal 0",
}
ORDINARY = [
    "What is 3 < 4 and 5 > 2?",
    "Fix this page: <html><body><p>hi</p></body></html>",
    "Use <b>bold</b> and a <file> element in XML, such as <file>a</file>.",
    "What does <system-reminder> mean?",
    "if x < y:\n    print('<context>')",
    "```python\nprint(1)\n```\nExplain this.",
    "[A] or [B]?",
    "[x] Done\n[ ] Result: none",
    "# A title\n\n---\n\nText",
    "",
    "   \n",
]


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_text_that_a_harness_added_is_removed(turn: str) -> None:
    assert human_text(turn) == QUESTION


@pytest.mark.parametrize("turn", HARNESS_ONLY.values(), ids=HARNESS_ONLY.keys())
def test_a_turn_of_a_harness_alone_has_no_human_text(turn: str) -> None:
    assert human_text(turn) == ""


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_turn_is_unchanged(text: str) -> None:
    assert human_text(text) == (text if text.strip() else "")


def test_text_before_and_after_a_block_remains() -> None:
    assert human_text("one <system-reminder>x</system-reminder>two") == "one two"


def test_nested_blocks_are_removed_completely() -> None:
    nested = "<system-reminder>a<system-reminder>b</system-reminder>c</system-reminder>"
    assert human_text(f"{nested}{QUESTION}") == QUESTION


def test_a_block_that_is_never_closed_is_not_removed() -> None:
    text = f"<system-reminder>{QUESTION}"
    assert human_text(text) == text


def test_a_closed_block_inside_an_unclosed_one_is_removed() -> None:
    assert human_text(f"<context>\n<git_status>\nM a\n</git_status>\n{QUESTION}") == f"<context>\n\n{QUESTION}"


def test_an_empty_query_block_does_not_remove_the_rest() -> None:
    assert human_text(f"<user_query></user_query>{QUESTION}") == QUESTION


@pytest.mark.parametrize("name", AT_LINE_START)
def test_a_common_tag_inside_a_line_is_human_text(name: str) -> None:
    text = f"Is <{name}>a</{name}> valid?"
    assert human_text(text) == text


_PARTS = st.sampled_from(
    [
        *(f"<{name}>" for name in INJECTED[:3] + AT_LINE_START[:3]),
        *(f"</{name}>" for name in INJECTED[:3] + AT_LINE_START[:3]),
        *("<user_query>", "</user_query>", "<task>", "</task>", "[ask] Result:", "<feedback>", "</feedback>"),
        *("\n", " ", "<", ">", "```", "```ts a.ts (1-2)\n", "\n```", "word", "# AGENTS.md instructions\n"),
    ]
)


@given(st.lists(_PARTS, max_size=40).map("".join))
@settings(deadline=None)
def test_the_human_text_is_made_of_words_of_the_turn_in_their_order(text: str) -> None:
    human = human_text(text)
    assert human == "" or human.strip()
    position = 0
    for line in human.split("\n"):
        for word in line.split():
            position = text.find(word[0], position)
            assert position >= 0


@given(st.text(max_size=300))
def test_the_human_text_of_any_text_is_empty_or_has_a_word(text: str) -> None:
    assert human_text(text) == "" or human_text(text).strip()


HOSTILE = {
    "tags that are never closed": "<context>\n",
    "tags that are never opened": "</system-reminder>",
    "tags without an end": "<file ",
    "blocks": "<system-reminder>x</system-reminder>",
    "queries and blocks": "<user_query>a</user_query><git_status>b</git_status>",
    "code blocks": "```ts a.ts (1-2)\n",
    "closed code blocks": "```ts a.ts (1-2)\nx\n```\n",
    "brackets": "[a_b for '",
    "smaller-than signs": "<",
    "almost code blocks": "```" + "a" * 20,
    "tails": "\n--- Content from referenced files ---",
}


@pytest.mark.parametrize("part", HOSTILE.values(), ids=HOSTILE.keys())
def test_the_time_for_a_hostile_megabyte_is_linear(part: str) -> None:
    # Quadratic time would take hours.
    text = part * (1_000_000 // len(part))
    assert len(human_text(text + QUESTION)) <= len(text + QUESTION)
    assert len(human_text(text)) <= len(text)
