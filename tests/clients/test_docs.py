"""The code on the pages about clients runs as it stands there, but for the gateway's address."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.upstream import Upstream
from tests.clients.vercel_packages import NEEDS_NODE, vercel_packages

ADDRESS = "http://127.0.0.1:8686"
PAGES = sorted((Path(__file__).parents[2] / "docs" / "clients").glob("*.md"))

# Takes pages as JSON, and prints as JSON what each printed.
_RUN_ALL = """
import contextlib, io, json, sys, traceback

outputs = {}
for page, code in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            exec(compile(code, page, "exec"), {"__name__": "__main__"})
        except Exception:
            print(traceback.format_exc())
    outputs[page] = output.getvalue()
print(json.dumps(outputs))
"""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n([\s\S]*?)```", page.read_text(encoding="utf-8"))


def having(language: str) -> list[object]:
    return [pytest.param(page, id=page.stem) for page in PAGES if blocks(page, language)]


def run(gateway: str, program: list[str], code: str, folder: Path) -> str:
    """What the program prints; none of the keys and addresses of this process's environment reach it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    kept |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "no_proxy": "*"}
    code = code.replace(ADDRESS, gateway)
    ended = subprocess.run([*program, code], cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def asked(code: str) -> list[str]:
    """The questions that a page's code asks a model, and that the upstream's double repeats."""
    questions = re.findall(r"What is the capital of \w+\?|Tell me about Oslo\.", code)
    assert questions
    return questions


@pytest.fixture(scope="module")
def printed(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each page's Python prints. One process runs them all: importing these libraries takes seconds."""
    pages = {page.stem: "\n".join(blocks(page, "python")) for page in PAGES if blocks(page, "python")}
    told = run(gateway, [sys.executable, "-c", _RUN_ALL], json.dumps(pages), tmp_path_factory.mktemp("pages"))
    outputs: dict[str, str] = json.loads(told.splitlines()[-1])
    return outputs


@pytest.mark.slow
@pytest.mark.parametrize("page", having("python"))
def test_the_python_of_a_page_runs(printed: dict[str, str], page: Path) -> None:
    output = printed[page.stem]
    assert "Traceback" not in output, output
    assert [question for question in asked("".join(blocks(page, "python"))) if question not in output] == []


@pytest.mark.slow
@NEEDS_NODE
@pytest.mark.parametrize("page", having("js"))
def test_the_javascript_of_a_page_runs(request: pytest.FixtureRequest, gateway: str, page: Path) -> None:
    node = ["node", "--input-type=module", "--eval"]
    for code in blocks(page, "js"):
        output = run(gateway, node, code, vercel_packages(request.config))
        assert [question for question in asked(code) if question not in output] == []


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")
def test_the_commands_for_curl_run(gateway: str, upstream: Upstream, tmp_path: Path) -> None:
    (page,) = (page for page in PAGES if page.stem == "curl")
    for code in blocks(page, "sh"):
        command = code.replace("curl ", "curl --fail --silent --show-error ", 1)
        assert run(gateway, ["bash", "-c"], command, tmp_path)
    reached = "".join(str(seen.body) for seen in upstream.seen)
    assert [question for question in asked(page.read_text(encoding="utf-8")) if question not in reached] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_openai_sdk_reads_the_variables_of_its_page(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    export("openai-python", gateway, monkeypatch)
    with openai.OpenAI() as client:
        assert client.models.retrieve("auto").id == "auto"


def test_the_anthropic_sdk_reads_the_variables_of_its_page(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    export("anthropic", gateway, monkeypatch)
    hi: Any = [{"role": "user", "content": "hi"}]
    with anthropic.Anthropic() as client:
        assert client.messages.create(model="auto", max_tokens=50, messages=hi).content


def export(page: str, gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the page says to export, and nothing else of these clients."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)
    (path,) = (path for path in PAGES if path.stem == page)
    exports = re.findall(r"^export (\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert exports
    for name, value in exports:
        monkeypatch.setenv(name, value.replace(ADDRESS, gateway))
