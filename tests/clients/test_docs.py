"""The code on the client pages runs unchanged, except for the gateway's address."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.docs_pages import FOLDER, PAGES, exports, page_blocks
from tests.clients.packages import NEEDS_NODE, npm_packages
from tests.clients.page_programs import run, written_in
from tests.clients.upstream import Upstream

# With the other tests of the process that runs the pages.
pytestmark = pytest.mark.xdist_group("client pages")


def pages_with(language: str) -> list[object]:
    return [pytest.param(page, id=page.stem) for page in written_in(language)]


def questions_in(code: str) -> list[str]:
    """The questions in a page's code, which the fake provider repeats."""
    questions = re.findall(r"What is the capital of \w+\?|Tell me about Oslo\.", code)
    assert questions
    return questions


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_runs(outputs: dict[str, str], page: Path) -> None:
    output = outputs[page.stem]
    assert "Traceback" not in output, output
    assert [question for question in questions_in("".join(page_blocks(page, "python"))) if question not in output] == []


@pytest.mark.slow
@NEEDS_NODE
@pytest.mark.parametrize("page", pages_with("js"))
def test_the_javascript_of_a_page_runs(gateway: str, page: Path) -> None:
    node = ["node", "--input-type=module", "--eval"]
    for code in page_blocks(page, "js"):
        output = run(gateway, node, code, npm_packages(page.stem))
        assert [question for question in questions_in(code) if question not in output] == []


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl: apt-get install curl")
def test_the_commands_for_curl_run(gateway: str, upstream: Upstream, tmp_path: Path) -> None:
    (page,) = (page for page in PAGES if page.stem == "curl")
    for code in page_blocks(page, "sh"):
        command = code.replace("curl ", "curl --fail --silent --show-error ", 1)
        assert run(gateway, ["bash", "-c"], command, tmp_path)
    received = "".join(str(seen.body) for seen in upstream.seen)
    assert [question for question in questions_in(page.read_text(encoding="utf-8")) if question not in received] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_a_page_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_openai_sdk_reads_the_variables_of_its_page(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_exports("openai-python", gateway, monkeypatch)
    with openai.OpenAI() as client:
        assert client.models.retrieve("auto").id == "auto"


def test_the_anthropic_sdk_reads_the_variables_of_its_page(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_exports("anthropic", gateway, monkeypatch)
    hi: Any = [{"role": "user", "content": "hi"}]
    with anthropic.Anthropic() as client:
        assert client.messages.create(model="auto", max_tokens=50, messages=hi).content


def set_exports(page: str, gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that the page exports, and unset all others of these clients."""
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)
    settings = exports((FOLDER / f"{page}.md").read_text(encoding="utf-8"), gateway)
    assert settings
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
