"""The public Python API: `from router import Router, ChatRequest`."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import router
from router import ChatRequest, Router
from router.cards.schema import Belief
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Segments
from router.errors import CallerError, ConfigurationError

ROOT = Path(__file__).parent.parent
PROMPT = "Write a Python function that merges two sorted lists."


@pytest.fixture(scope="module")
def default() -> Router:
    return Router.default()


def test_the_default_router_decides_and_forecasts_every_card(default: Router) -> None:
    routed = default.route(ChatRequest.from_prompt(PROMPT), flags="size<10B")
    position = default.catalog.ids.index(routed.decision.card)
    assert default.catalog[position].size.total < 10e9
    assert routed.forecast.quality.shape == (len(default.catalog),)
    assert np.all((routed.forecast.quality >= 0) & (routed.forecast.quality <= 1))


def test_the_order_of_the_forecast_is_that_of_the_catalogue(default: Router) -> None:
    routed = default.route(ChatRequest.from_prompt(PROMPT), policy="best")
    for candidate in routed.decision.candidates:
        assert candidate.quality == routed.forecast.quality[default.catalog.ids.index(candidate.card)]


def test_cards_have_a_provider_and_prices(default: Router) -> None:
    card = default.catalog[default.catalog.ids.index("gpt-4o-mini")]
    assert card.provider == "openai"
    assert card.price.input_usd < card.price.output_usd


def test_a_request_body_is_read_as_turns_and_routed(default: Router) -> None:
    body = {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ],
    }
    request = ChatRequest.from_body(body)
    assert [(turn.role, turn.text) for turn in request.turns] == [("system", "Be brief."), ("user", "Hello")]
    assert default.route(request, today=datetime.date(2026, 1, 1)).decision.card in default.catalog.ids


def test_an_unavailable_card_is_rejected_with_the_given_reason(default: Router) -> None:
    request = ChatRequest.from_prompt(PROMPT)
    best = default.route(request, policy="best").decision.card
    decision = default.route(request, policy="best", unavailable={best: "out of order"}).decision
    assert decision.card != best
    assert decision.rejections[best].reason == "out of order"


def test_the_artifact_has_an_id(default: Router) -> None:
    assert default.predictor.id.startswith("skills-")


def test_the_given_folders_are_used(tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    for name in ("gpt-4o-mini.yaml", "llama-3.1-8b-instruct.yaml"):
        shutil.copy(ROOT / "model_cards" / name, cards)
    custom = Router.default(cards=cards, policies=ROOT / "policies")
    assert custom.catalog.ids == ("gpt-4o-mini", "llama-3.1-8b-instruct")


def test_a_folder_without_cards_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        Router.default(cards=tmp_path)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_the_callers_fault(prompt: str) -> None:
    with pytest.raises(CallerError, match="the prompt is empty"):
        ChatRequest.from_prompt(prompt)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gateway'"):
        _ = router.Gateway  # type: ignore[attr-defined]


def test_importing_the_package_imports_no_array_library() -> None:
    code = "import sys, router; print(router.__version__, 'numpy' in sys.modules)"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert completed.stdout.split() == [router.__version__, "False"]


@pytest.mark.parametrize("name", ["split-tasks", "plan/split-tasks"])
def test_a_plan_is_named_by_its_id_or_as_a_model(default: Router, name: str) -> None:
    prompt = "1. Translate 'good morning' to French.\n2. What is 17 times 23?\n3. Name the capital of Peru."
    plans = Plans([Segments(id="split-tasks", description="d")])
    routed = Router(default.catalog, default.policies, default.predictor, plans=plans).route(
        ChatRequest.from_prompt(prompt), plan=name
    )
    assert len(routed.forecast.parts) == 3
    assert routed.request_context.plan == "split-tasks"


def test_what_a_policy_believes_of_a_card_moves_its_forecast_and_no_other(default: Router) -> None:
    plain = default.policies.named("best")
    believing = msgspec.structs.replace(plain, beliefs={"mistral-7b-instruct-v0.2": Belief(tier="frontier")})
    before, after = (
        default.route(ChatRequest.from_prompt(PROMPT), policy=each).forecast for each in (plain, believing)
    )
    position = default.catalog.ids.index("mistral-7b-instruct-v0.2")
    assert after.quality[position] > before.quality[position]
    assert np.delete(after.quality, position).tobytes() == np.delete(before.quality, position).tobytes()
