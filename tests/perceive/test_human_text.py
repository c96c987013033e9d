from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.perceive.human_text import AT_LINE_START, INJECTED, human_text, newest_ask

ASK = "Why does the login test fail?"
TURNS = {
    "Claude Code": f"""<system-reminder>
As you answer the user's questions, you can use the following context:
# claudeMd
Codebase and user instructions are shown below. Be sure to adhere to these instructions.
</system-reminder>

{ASK}

<system-reminder>The TodoWrite tool hasn't been used recently.</system-reminder>""",
    "Claude Code, a slash command": f"""<command-message>review is running…</command-message>
<command-name>/review</command-name>
<command-args>{ASK}</command-args>""",
    "Claude Code, an open file": f"""<ide_opened_file>The user opened the file src/login.ts in the IDE. This may or may
not be related to the current task.</ide_opened_file>
{ASK}""",
    "Cline": f"""<task>
{ASK}
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
{ASK}
</feedback>
<environment_details>
# Current Mode
ACT MODE
</environment_details>""",
    "Roo Code": f"""<user_message>
{ASK}
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
{ASK}
</user_query>""",
    "Cursor, beside rules": f"""<user_info>
OS Version: linux 6.8
Shell: /bin/zsh
</user_info>
<rules>
Always answer in German.
</rules>
<user_query>{ASK}</user_query>""",
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
{ASK}
</userRequest>""",
    "Codex": f"""<environment_context>
  <cwd>/home/ada/shop</cwd>
  <approval_policy>on-request</approval_policy>
  <sandbox_mode>workspace-write</sandbox_mode>
  <shell>zsh</shell>
</environment_context>
{ASK}""",
    "Codex, user instructions": f"<user_instructions>\n\nRun `make check` first.\n\n</user_instructions>\n\n{ASK}",
    "Codex, from an editor": f"""# Context from my IDE setup:

## Active file: src/login.ts

## Open tabs:
- login.ts: src/login.ts

## My request for Codex:
{ASK}
""",
    "Codex, files": f"""
# Files mentioned by the user:

## report.pdf: /home/ada/report.pdf

## My request for Codex:
{ASK}""",
    "Gemini CLI": f"""{ASK}
--- Content from referenced files ---
Content from @src/login.ts:
export function login() {{}}
--- End of content ---""",
    "Gemini CLI, a session": f"""<session_context>
This is the Gemini CLI. We are setting up the context for our chat.
My operating system is: linux
</session_context>
{ASK}""",
    "Windsurf": f"""<USER_REQUEST>
{ASK}
</USER_REQUEST>
<ADDITIONAL_METADATA>
The current local time is: 2026-01-15T10:12:01+01:00.
</ADDITIONAL_METADATA>""",
    "aider": f"""{ASK}

# *SEARCH/REPLACE block* Rules:

Every *SEARCH/REPLACE block* must use this format:
1. The *FULL* file path alone on a line, verbatim.""",
    "Continue": f"""```ts src/login.ts (1-3)
export function login() {{
  return null
}}
```
{ASK}""",
    "OpenHands": f"""{ASK}
<REPOSITORY_INFO>
At the user's request, repository shop has been cloned to /workspace/shop.
</REPOSITORY_INFO>""",
    "a retrieval template": f"""### Task:
Respond to the user query using the provided context, incorporating inline citations.

<context>
<source id="1">Login needs a session cookie.</source>
</context>

<user_query>
{ASK}
</user_query>""",
    "retrieved documents": f"""<documents>
<document index="1">
<source>login.md</source>
Login needs a session cookie.
</document>
</documents>

{ASK}""",
    "a pasted tool result": f"""{ASK}
<tool_result>
AssertionError: 401 != 200
</tool_result>""",
}
NOBODY = {
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
def test_what_the_harness_adds_is_not_the_ask(turn: str) -> None:
    assert newest_ask(turn) == ASK


@pytest.mark.parametrize("turn", NOBODY.values(), ids=NOBODY.keys())
def test_a_turn_without_a_humans_words_is_told_apart_and_kept_whole(turn: str) -> None:
    assert human_text(turn) == ""
    assert newest_ask(turn) == turn


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_turn_stays_as_it_is(text: str) -> None:
    assert newest_ask(text) == text


def test_words_before_and_after_a_block_are_kept() -> None:
    assert newest_ask("one <system-reminder>x</system-reminder>two") == "one two"


def test_blocks_inside_blocks_are_cut_whole() -> None:
    nested = "<system-reminder>a<system-reminder>b</system-reminder>c</system-reminder>"
    assert newest_ask(f"{nested}{ASK}") == ASK


def test_a_block_that_is_never_closed_hides_nothing() -> None:
    text = f"<system-reminder>{ASK}"
    assert newest_ask(text) == text


def test_a_closed_block_inside_one_that_is_not_is_cut() -> None:
    assert newest_ask(f"<context>\n<git_status>\nM a\n</git_status>\n{ASK}") == f"<context>\n\n{ASK}"


def test_an_empty_query_mark_does_not_hide_the_rest() -> None:
    assert newest_ask(f"<user_query></user_query>{ASK}") == ASK


@pytest.mark.parametrize("name", AT_LINE_START)
def test_a_common_mark_inside_a_line_is_the_humans(name: str) -> None:
    text = f"Is <{name}>a</{name}> valid?"
    assert newest_ask(text) == text


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
def test_only_words_of_the_turn_are_kept_and_never_none(text: str) -> None:
    kept = newest_ask(text)
    assert (kept == text) or kept.strip()
    position = 0
    for line in kept.split("\n"):
        for word in line.split():
            position = text.find(word[0], position)
            assert position >= 0


@given(st.text(max_size=300))
def test_any_text_can_be_asked(text: str) -> None:
    assert newest_ask(text) == (human_text(text) or text)


HOSTILE = {
    "marks that are never closed": "<context>\n",
    "marks that are never opened": "</system-reminder>",
    "marks without an end": "<file ",
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
def test_a_megabyte_made_to_be_slow_is_read(part: str) -> None:
    # Quadratic time would be hours.
    text = part * (1_000_000 // len(part))
    assert len(human_text(text + ASK)) <= len(text + ASK)
    assert newest_ask(text)
