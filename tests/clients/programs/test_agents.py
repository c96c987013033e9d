"""Coding agents, unmodified, do a task with their own tools through the gateway."""

from __future__ import annotations

import pytest

from tests.clients.packages import HEAVY, NEEDS_NODE
from tests.clients.programs.agents import AGENTS, Agent
from tests.clients.programs.workplace import NOTE, Workplace
from tests.clients.scripted_model import dictating
from tests.clients.upstream import Upstream

# In one process of a parallel run, so that large packages are installed once.
pytestmark = [pytest.mark.slow, NEEDS_NODE, pytest.mark.xdist_group("agents")]

# An agent's requests are relayed at one of these and converted at others.
MODELS = ("open-model", "claude", "auto")
# The agent whose requests differ most from chat completions.
_SAMPLE = "codex"
every_agent = pytest.mark.parametrize(
    "agent",
    [pytest.param(agent, id=agent.package, marks=[] if agent.package == _SAMPLE else [HEAVY]) for agent in AGENTS],
)


def cases() -> list[object]:
    """Every agent with every model; a CI run takes one agent with one model."""
    return [
        pytest.param(
            agent,
            model,
            id=f"{agent.package}-{model}",
            marks=[] if (agent.package, model) == (_SAMPLE, "claude") else [HEAVY],
        )
        for agent in AGENTS
        for model in MODELS
    ]


@pytest.mark.parametrize(("agent", "model"), cases())
def test_the_agents_tool_reads_a_file_for_the_model(
    agent: Agent, model: str, gateway: str, upstream: Upstream, workplace: Workplace
) -> None:
    text = "".join(agent.ask(agent.reading(workplace.note), gateway, model, workplace))
    assert "The tools returned:" in text
    assert NOTE in text
    # The result of the tool came back to the model.
    assert NOTE in str(upstream.last.body)


@every_agent
def test_a_stream_is_shown_whole(agent: Agent, gateway: str, upstream: Upstream, workplace: Workplace) -> None:
    pieces = agent.ask(dictating("one two  three\n\nfour"), gateway, "open-model", workplace)
    assert "".join(pieces).rstrip("\n") == "one two  three\n\nfour"
    assert all(request.body["stream"] for request in upstream.seen)
