"""The code of the pages of instructor and Pydantic AI, each in an environment of its own."""

from __future__ import annotations

import pytest

from tests.clients.docs_pages import FOLDER, adapted, page_blocks
from tests.clients.packages import python_of
from tests.clients.programs.workplace import Workplace
from tests.clients.upstream import Upstream

pytestmark = pytest.mark.slow

_WITH_RETRY = """
from typing import Annotated
from pydantic import AfterValidator

attempts = []

def second(name: str) -> str:
    attempts.append(name)
    if len(attempts) == 1:
        raise ValueError("not on the first attempt")
    return name

class Careful(BaseModel):
    name: Annotated[str, AfterValidator(second)]

print("retried:", client.create(model="auto", max_tokens=500, response_model=Careful, messages=question), len(attempts))
"""


def output_of(page: str, gateway: str, model: str, place: Workplace, more: str = "") -> list[str]:
    """The lines that the page's code prints, with `more` at its end."""
    code = "\n".join([*page_blocks(FOLDER / f"{page}.md", "python"), more])
    return place.run([python_of(page), "-c", adapted(code, gateway, model)], {}).splitlines()


every_model = pytest.mark.parametrize("model", ["open-model", "claude", "auto"])


@pytest.mark.xdist_group("instructor")
@every_model
def test_instructor_fills_a_model_whole_in_parts_and_again_after_an_error(
    model: str, gateway: str, upstream: Upstream, workplace: Workplace
) -> None:
    *lines, retried = output_of("instructor", gateway, model, workplace, _WITH_RETRY)
    filled = "name='Oslo' country='Oslo'"
    assert lines[0] == f"one: {filled}"
    assert lines[-2] == f"part: {filled}"
    assert lines[-1] == f"anthropic: {filled}"
    assert len(lines) > 4
    assert retried == "retried: name='Oslo' 2"
    # The error reached the model as the tool's result.
    assert "not on the first attempt" in str(upstream.last.body)


@pytest.mark.xdist_group("pydantic-ai")
@every_model
def test_pydantic_ai_runs_a_tool_in_every_protocol(model: str, gateway: str, workplace: Workplace) -> None:
    lines = output_of("pydantic-ai", gateway, model, workplace)
    pieces = [line.removeprefix("piece: ") for line in lines if line.startswith("piece: ")]
    answers = [line for line in lines if not line.startswith("piece: ")]
    text = "The tools returned: Oslo is sunny"
    assert answers == [f"{protocol}: {text}" for protocol in ("chat", "responses", "messages")]
    assert "".join(pieces).replace("\n", "") == text
    assert len(pieces) > 1
