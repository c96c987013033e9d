"""`route ask` against a real HTTP server."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.perceive.predictor import Predictor
from tests.clients.upstream import Upstream, upstream_server
from tests.commands.conftest import Ended, Run
from tests.gateway.servers import upstream_server as scripted_server

KEY = "PULVINAR_TEST_KEY"
MODELS = ("small", "large", "status-503", "cut")


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    monkeypatch.setenv(KEY, "sk-test")
    with upstream_server() as server:
        server.listed = MODELS
        yield server


class Asker:
    """Runs `route ask` with the cards in a folder of its own; every policy prefers low prices."""

    def __init__(self, run: Run, folder: Path, url: str) -> None:
        self._run, self._url = run, url
        self._cards, self._policies, self._artifact = (folder / name for name in ("cards", "policies", "artifact"))
        for created in (self._cards, self._policies):
            created.mkdir()
        policy = "id: default\ndescription: d\ngoals: {cheapest: 1}\nguard: off\nprompt_flags: true\n"
        (self._policies / "default.yaml").write_text(policy)

    def card(self, name: str, price: float | None, model: str = "", **facts: Any) -> None:
        """Write a card of the fake provider."""
        priced = {} if price is None else {"price": {"input": f"{price}$", "output": f"{price}$"}}
        card = {
            "id": name,
            "provider": "openai",
            "model": model or name,
            "base_url": f"{self._url}/v1",
            **priced,
            **facts,
        }
        (self._cards / f"{name}.yaml").write_text(json.dumps({"api_key_env": KEY, **card}))

    def __call__(self, *arguments: str) -> Ended:
        folders = ("--cards", self._cards, "--policies", self._policies, "--artifact", self._artifact)
        return self._run("ask", *arguments, *folders)

    def save(self, predictor: Predictor) -> None:
        """Use this predictor."""
        predictor.save(self._artifact)


@pytest.fixture
def ask(run: Run, tmp_path: Path, upstream: Upstream, predictor: Predictor) -> Asker:
    asker = Asker(run, tmp_path, upstream.url)
    asker.save(predictor)
    return asker


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def turns_of(upstream: Upstream) -> list[str]:
    return [message["content"] for message in upstream.last.body["messages"]]


def test_the_answer_goes_to_standard_output_and_one_line_says_who_wrote_it_and_why(ask: Asker) -> None:
    ask.card("small", 1)
    ask.card("large", 9)
    ended = ask("What is 17 plus 4?")
    assert (ended.code, ended.out) == (0, "You said: What is 17 plus 4?\n")
    (line,) = ended.err.splitlines()
    assert line.startswith("small: quality 0.")
    assert "; next large 0." in line
    assert "; cost 0.0000" in line
    assert "forecast" not in line
    assert line.endswith(("ms", "s"))


def test_the_answer_is_streamed_unless_it_should_not_be(ask: Asker, upstream: Upstream) -> None:
    ask.card("small", 1)
    assert ask("Hello").out == ask("Hello", "--no-stream").out
    assert [request.body["stream"] for request in upstream.seen] == [True, False]


def test_the_next_card_answers_where_the_best_one_fails(ask: Asker, upstream: Upstream) -> None:
    ask.card("cheap", 1, "status-503")
    ask.card("large", 9)
    ended = ask("Hello")
    assert ended.out == "You said: Hello\n"
    assert ended.err.startswith("large: in place of cheap (http_503); ")
    assert [request.body["model"] for request in upstream.seen][-1] == "large"


def test_where_every_card_fails_the_error_has_the_upstreams_message(ask: Asker) -> None:
    ask.card("cheap", 1, "status-503")
    ended = ask("Hello")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err == 'route: the upstream of the card "cheap" answered HTTP 503: the upstream rejected the request\n'


def test_an_answer_that_breaks_off_is_an_error_after_its_beginning(ask: Asker) -> None:
    ask.card("cheap", 1, "cut")
    ended = ask("Hello to everybody in this room")
    assert ended.code == 4
    assert ended.out.startswith("You said")
    assert ended.out.endswith("\n")
    problem = 'the upstream of the card "cheap" closed the connection before the answer was complete'
    assert ended.err.endswith(f"route: {problem}\n")


def test_anthropic_is_called_in_its_own_protocol_so_that_litellm_is_not_imported(
    ask: Asker, upstream: Upstream
) -> None:
    ask.card("claude", 1, provider="anthropic", max_output=1000)
    for option in ((), ("--no-stream",)):
        ended = ask("Hello", *option)
        assert ended.out == "You said: Hello\n"
        assert "; cost 0.0000" in ended.err
    assert upstream.last.path == "/v1/messages"
    assert upstream.last.body["max_tokens"] == 1000


def test_a_fallback_of_anthropic_may_have_another_protocol(ask: Asker, upstream: Upstream) -> None:
    ask.card("claude", 1, "status-503", provider="anthropic")
    ask.card("large", 9)
    assert ask("Hello").out == "You said: Hello\n"
    assert upstream.last.path == "/v1/chat/completions"


def test_a_named_card_answers_without_routing(ask: Asker, upstream: Upstream) -> None:
    ask.card("small", 1)
    ask.card("large", 9)
    assert ask("Hello", "--model", "large").err.startswith("large: named by --model; cost 0.0")
    assert upstream.last.body["model"] == "large"


@pytest.mark.parametrize("option", ["--flags", "--policy"])
def test_a_named_card_leaves_nothing_to_choose(ask: Asker, option: str) -> None:
    ended = ask("Hello", "--model", "large", option, "cheapest")
    assert ended.code == 2
    assert "omit --flags and --policy" in ended.err


def test_flags_limit_the_cards_and_are_taken_out_of_the_prompt(ask: Asker, upstream: Upstream) -> None:
    ask.card("small", 9, size="1B")
    ask.card("large", 1, size="70B")
    assert ask("Hello", "--flags", "size<7B").err.startswith("small: ")
    ended = ask("[Flag: size<7B] Hello")
    assert ended.err.startswith("small: ")
    assert "within size<7B" in ended.err
    assert turns_of(upstream) == ["Hello"]


def test_the_cost_is_an_estimate_where_the_upstream_reports_no_usage(ask: Asker) -> None:
    with scripted_server() as silent:
        ask.card("silent", 1, "ok", base_url=f"{silent.url}/v1")
        ended = ask("Hello")
    assert ended.out == "Hello\n"
    assert re.search(r"; cost 0\.\d+\$ \(estimate\); ", ended.err)


def test_the_json_has_the_answer_and_the_decision(ask: Asker) -> None:
    ask.card("small", 1)
    document = json.loads(ask("Hello", "--json").out)
    assert (document["answer"], document["card"], document["cost_from"]) == ("You said: Hello", "small", "usage")
    assert document["cost_usd"] == pytest.approx(document["usage"]["input_tokens"] / 1e6, rel=2)
    assert document["decision"]["card"] == "small"
    assert [attempt["status"] for attempt in document["attempts"]] == [200]


def test_the_prompt_comes_from_standard_input(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    ask.card("small", 1)
    for argument in ((), ("-",)):
        type_in(monkeypatch, "Hello\nworld")
        assert ask(*argument).out == "You said: Hello\nworld\n"


def test_a_conversation_keeps_its_turns_and_goes_on_after_an_error(
    ask: Asker, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask.card("small", 1, size="7B")
    type_in(monkeypatch, "One\n\n[Flag: size<1B] Two\nThree\n")
    ended = ask("Zero", "--chat")
    assert ended.code == 0
    assert ended.out == "You said: Zero\nYou said: One\nYou said: Three\n"
    assert turns_of(upstream) == ["Zero", "You said: Zero", "One", "You said: One", "Three"]
    assert [line.partition(":")[0] for line in ended.err.splitlines()] == [
        "small",
        "small",
        "route",
        "  nearest is small",
        "small",
    ]


def test_without_a_callable_card_the_error_says_what_to_do(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    ask.card("small", 1)
    monkeypatch.delenv(KEY)
    ended = ask("Hello")
    assert (ended.code, ended.out) == (3, "")
    assert f"no model can be called here: {KEY} is not set" in ended.err
    assert "ollama serve" in ended.err
    assert "route doctor --write" in ended.err


def test_a_named_card_that_cannot_be_called_is_an_error_with_the_reason(ask: Asker) -> None:
    ask.card("small", 1, "unlisted")
    ended = ask("Hello", "--model", "small")
    assert ended.code == 3
    assert "small cannot be called here: the server on port" in ended.err
    assert "does not list unlisted" in ended.err
