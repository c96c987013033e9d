"""openai-node as a client: chat, responses, streams, and its own loop of tools."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.clients.packages import NEEDS_NODE, NPM, npm_packages
from tests.clients.programs.conftest import CARDS
from tests.clients.programs.workplace import NOTE, Workplace
from tests.clients.scripted_model import calling

pytestmark = [pytest.mark.slow, NEEDS_NODE, pytest.mark.xdist_group("openai-node")]


@pytest.mark.parametrize("model", [*CARDS, "auto"])
def test_openai_node_works_whole(model: str, gateway: str, workplace: Workplace) -> None:
    program = shutil.copy(NPM / "openai-node" / "client.mjs", npm_packages("openai-node"))
    prompt = calling("read_note", path=str(workplace.note))
    results = json.loads(workplace.run(["node", program, gateway, model, prompt], {}))
    answer = "You said: hi"
    assert results["chat"] == results["responses"] == answer
    assert results["stream"] == results["responsesStream"] == {"text": answer, "pieces": 3}
    assert results["tool"].rstrip() == results["streamedTool"].rstrip() == f"The tools returned: {NOTE}"
    assert results["error"] == [True, 404]
