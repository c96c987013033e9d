"""A flag in a prompt may only narrow: the whole way from the request to the decision, on any cards and forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.decide.goals import GOALS
from router.decide.policy import Policies, Policy
from router.decide.prompt_flags import extract_own_lines
from router.errors import CallerError
from router.pipeline import Router
from router.types import Decision, Features, Forecast
from router.wire.chat.request import ChatRequest
from tests.decide.cards import card, forecast, limit_texts, situations
from tests.gateway.servers import IndifferentPredictor

EVERYTHING = ("limits", "goals")
READING = Policy(id="default", description="d", goals={"cheapest": 0.3}, prompt_flags=True)


class Fixed(IndifferentPredictor):
    def __init__(self, expected: Forecast) -> None:
        super().__init__()
        self._expected = expected

    def bind(self, catalog: Catalog, _: object = None) -> Callable[[Features], Forecast]:
        return lambda _: self._expected


def decided(cards: list[Card], expected: Forecast, prompt: str, flags: str = "") -> Decision | None:
    router = Router(Catalog(cards), Policies([READING]), Fixed(expected))
    try:
        return router.route(ChatRequest.from_prompt(prompt), flags=flags).decision
    except CallerError:
        return None


def known(value: float | None, unknown: float) -> float:
    return unknown if value is None or np.isnan(value) else value


flags_in_prompts = st.one_of(
    limit_texts,
    st.sampled_from(sorted(GOALS)),
    st.sampled_from(["price>3$", "size>50B", "privacy=public", "cheapest*0,best", "newest*9,cheapest*0"]),
)


@given(situations(), flags_in_prompts, flags_in_prompts)
def test_a_flag_in_the_prompt_never_chooses_a_dearer_larger_or_more_public_card(
    situation: tuple[list[Card], Forecast], first: str, last: str
) -> None:
    cards, expected = situation
    without = decided(cards, expected, "Hello")
    narrowed = decided(cards, expected, f"[Flag: {first}]\nHello\n[Flag: {last}]")
    if narrowed is None:
        return
    assert without is not None
    catalog = Catalog(cards)
    columns = catalog.columns
    before = catalog.ids.index(without.card)
    for name in (narrowed.card, *narrowed.plan.fallbacks):
        now = catalog.ids.index(name)
        for values, unknown in (
            (columns.size_parameters, np.inf),
            (columns.input_price_usd_per_mtok, None),
            (columns.output_price_usd_per_mtok, None),
            (columns.exposure, None),
            (expected.cost_usd, None),
        ):
            same = np.isnan(values[now]) and np.isnan(values[before])
            limit = known(values[before], 0.0 if unknown is None else unknown)
            assert same or known(values[now], np.inf) <= limit


def own(*messages: tuple[str, Any]) -> tuple[list[Any], str]:
    body = {"messages": [{"role": role, "content": content} for role, content in messages]}
    request, flags = extract_own_lines(ChatRequest.from_body(body), EVERYTHING)
    assert [turn.text for turn in request.turns if turn.role == "user"][-1].strip() or request.modalities != {"text"}
    return [message["content"] for message in request.body["messages"]], str(flags)


@pytest.mark.parametrize(
    ("prompt", "remaining", "flags"),
    [
        ("[Flag: smallest]\nHello", "Hello", "smallest*1"),
        ("Hello\n[flags: smallest model]\n", "Hello", "smallest*1"),
        ("\n  [Flag: smallest]  \r\nHello", "Hello", "smallest*1"),
        ("[Flag: size<7B]\nHello\n[Flag: best]", "Hello", "size<7B,best*1"),
    ],
)
def test_a_flag_alone_on_the_first_or_last_line_counts_and_is_removed(prompt: str, remaining: str, flags: str) -> None:
    assert own(("user", prompt)) == ([remaining], flags)


@pytest.mark.parametrize(
    "prompt",
    [
        "[Flag: smallest] Hello",
        "Hello [Flag: smallest]",
        "Report:\n[Flag: privacy=public]\nend",
        "[Flag: smallest] [Flag: best]\nHello",
        "> [Flag: smallest]\nHello",
        "[Flag: cheap]\nHello",
        "Hello\n[Flags: fastest PSH]",
        "[Flag: size<]\nHello",
        "[Flag: size<7B,size>8B]\nHello",
        "[Flag: ]\nHello",
        "[Flag: smallest]",
    ],
)
def test_any_other_flag_is_text(prompt: str) -> None:
    assert own(("user", prompt)) == ([prompt], "")


def test_only_the_newest_human_turn_counts() -> None:
    marked = "[Flag: smallest]\nHello"
    messages = (("system", marked), ("user", marked), ("assistant", marked), ("user", "More"), ("tool", marked))
    assert own(*messages) == ([content for _, content in messages], "")


def test_a_flag_before_an_image_counts() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,x"}}
    parts = [{"type": "text", "text": "[Flag: smallest]"}, image, {"type": "text", "text": "What is this?"}]
    assert own(("user", parts)) == ([parts[1:]], "smallest*1")


def test_a_kind_of_flags_that_the_policy_does_not_let_clients_set_is_text() -> None:
    request = ChatRequest.from_prompt("[Flag: smallest]\nHello")
    assert extract_own_lines(request, ("limits",))[0] is request


def test_a_flag_that_no_card_meets_is_an_error_that_quotes_it() -> None:
    router = Router(
        Catalog([card("a", price={"input": "1$", "output": "1$"})]), Policies([READING]), Fixed(forecast([0.5]))
    )
    with pytest.raises(
        CallerError, match=r"the flags privacy=local can only narrow the choice: no card meets every limit"
    ):
        router.route(ChatRequest.from_prompt("[Flag: privacy=local]\nHello"))
