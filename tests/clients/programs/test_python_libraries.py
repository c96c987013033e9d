"""The code of the pages of instructor and Pydantic AI, each in an environment of its own."""

from __future__ import annotations

import json

import pytest

from tests.clients.docs_pages import FOLDER, adapted, page_blocks
from tests.clients.packages import python_of
from tests.clients.programs.workplace import Workplace
from tests.clients.upstream import Upstream

pytestmark = pytest.mark.slow

MODELS = ("open-model", "claude", "auto")
_RUN_EACH = """
import json, sys

for model, code in json.loads(sys.argv[1]).items():
    print("model:", model)
    exec(compile(code, model, "exec"), {"__name__": "__main__"})
"""
_WITH_RETRY = """
from typing import Annotated
from pydantic import AfterValidator

attempts = []

def second(name: str) -> str:
    attempts.append(name)
    if len(attempts) == 1:
        raise ValueError("not on the first attempt of auto")
    return name

class Careful(BaseModel):
    name: Annotated[str, AfterValidator(second)]

print("retried:", client.create(model="auto", max_tokens=500, response_model=Careful, messages=question), len(attempts))
"""


def outputs_of(page: str, gateway: str, place: Workplace, more: str = "") -> dict[str, list[str]]:
    """The lines that the page's code prints with each model, with `more` at its end.

    One process runs it for all of them, since importing these libraries takes seconds.
    """
    code = "\n".join([*page_blocks(FOLDER / f"{page}.md", "python"), more])
    each = {model: adapted(code, gateway, model) for model in MODELS}
    _, *parts = place.run([python_of(page), "-c", _RUN_EACH, json.dumps(each)], {}).split("model: ")
    return {lines[0]: lines[1:] for lines in map(str.splitlines, parts)}


@pytest.mark.xdist_group("instructor")
def test_instructor_fills_a_model_whole_in_parts_and_again_after_an_error(
    gateway: str, upstream: Upstream, workplace: Workplace
) -> None:
    outputs = outputs_of("instructor", gateway, workplace, _WITH_RETRY)
    assert [*outputs] == [*MODELS]
    filled = "name='Oslo' country='Oslo'"
    for model, (*lines, retried) in outputs.items():
        assert lines[0] == f"one: {filled}", model
        assert lines[-2] == f"part: {filled}", model
        assert lines[-1] == f"anthropic: {filled}", model
        assert len(lines) > 4, model
        assert retried == "retried: name='Oslo' 2", model
        # The error reached the model as the tool's result.
        assert any(f"not on the first attempt of {model}" in str(seen.body) for seen in upstream.seen), model


@pytest.mark.xdist_group("pydantic-ai")
def test_pydantic_ai_runs_a_tool_in_every_protocol(gateway: str, workplace: Workplace) -> None:
    outputs = outputs_of("pydantic-ai", gateway, workplace)
    assert [*outputs] == [*MODELS]
    text = "The tools returned: Oslo is sunny"
    for model, lines in outputs.items():
        pieces = [line.removeprefix("piece: ") for line in lines if line.startswith("piece: ")]
        answers = [line for line in lines if not line.startswith("piece: ")]
        assert answers == [f"{protocol}: {text}" for protocol in ("chat", "responses", "messages")], model
        assert "".join(pieces).replace("\n", "") == text, model
        assert len(pieces) > 1, model
