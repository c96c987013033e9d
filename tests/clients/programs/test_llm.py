"""The command `llm`, with the file of its page."""

from __future__ import annotations

import re

import pytest

from tests.clients.docs_pages import FOLDER, adapted
from tests.clients.packages import python_of
from tests.clients.programs.conftest import CARDS
from tests.clients.programs.workplace import NOTE, Workplace
from tests.clients.scripted_model import calling, dictating
from tests.clients.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("llm")]

_FUNCTION = '''
def read_note(path: str) -> str:
    """Read a note."""
    return open(path).read()
'''


def ask(place: Workplace, gateway: str, prompt: str, model: str, *arguments: str) -> str:
    page = (FOLDER / "llm.md").read_text(encoding="utf-8")
    ((path, content),) = re.findall(r"`~/([^`]+)`:\n\n```yaml\n([\s\S]*?)```", page)
    place.write_home({path: adapted(content, gateway, model)})
    command = [python_of("llm"), "-m", "llm", "-m", "pulvinar", "--key", "unused", *arguments]
    return place.run([*command, prompt], {}).strip()


@pytest.mark.parametrize("model", [*CARDS, "auto"])
def test_a_function_reads_a_file_for_the_model(model: str, gateway: str, workplace: Workplace) -> None:
    prompt = calling("read_note", path=str(workplace.note))
    assert ask(workplace, gateway, prompt, model, "--functions", _FUNCTION) == f"The tools returned: {NOTE}"


def test_a_stream_is_shown_whole(gateway: str, upstream: Upstream, workplace: Workplace) -> None:
    assert ask(workplace, gateway, dictating("one  two\n\nthree"), "open-model") == "one  two\n\nthree"
    assert upstream.last.body["stream"] is True
