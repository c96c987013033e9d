"""Plans as names of models: who may use which, and what a dry run says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from router.cards import Catalog
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Cascade, Panel, Segments
from router.decide.policy import Policies, Policy
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.pipeline import Routed, Router
from tests.gateway.servers import IndifferentPredictor, make_card, make_gateway, served, upstream_server

PLANS = Plans(
    [
        Cascade(id="ladder", description="d", members=("dear", "cheap")),
        Panel(id="panel", description="d", members=("cheap", "dear"), writer="cheap"),
    ]
)
KEYS = {
    "ann": {},
    "cheap-only": {"cards": ("cheap",)},
    "by-policy": {"policies": ("default",)},
    "by-plan": {"policies": ("planned", "default")},
}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    policies = [
        Policy(id="default", description="d", goals={"cheapest": 1.0}),
        Policy(id="planned", description="d", goals={"cheapest": 1.0}, plans=("ladder",)),
    ]
    keys = Keys([Key(id=name, hash=hash_of(f"pv-{name}"), **facts) for name, facts in KEYS.items()], ("cheap", "dear"))
    with upstream_server() as upstream:
        cards = [make_card("cheap", upstream.url, price=1.0), make_card("dear", upstream.url, price=5.0)]
        router = Router(Catalog(cards), Policies(policies), IndifferentPredictor(), plans=PLANS)
        config = GatewayConfig(aliases={"ladders": "plan/ladder"})
        with served(make_app(make_gateway(router, config, keys))) as url, httpx.Client(base_url=url) as client:
            yield client


def decide(client: httpx.Client, key: str, model: str, **fields: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "What is 17 × 23?"}], **fields}
    return client.post("/route", json=body, headers={"authorization": f"Bearer pv-{key}"})


def listed(client: httpx.Client, key: str) -> list[str]:
    names = client.get("/v1/models", headers={"authorization": f"Bearer pv-{key}"}).json()["data"]
    return [each["id"] for each in names if each["id"].startswith("plan/")]


@pytest.mark.parametrize("model", ["plan/ladder", "plan/ladder[calls<=2]", "ladders"])
def test_a_plan_is_named_like_a_model(client: httpx.Client, model: str) -> None:
    document = decide(client, "ann", model).json()
    assert document["plan"]["id"] == "plan/ladder"
    assert document["plan"]["members"] == ["dear", "cheap"]
    assert [step["card"] for step in document["plans"]["plan/ladder"]["steps"]] == ["dear", "cheap"]


def test_a_plan_that_does_not_exist_is_a_404_with_a_similar_name(client: httpx.Client) -> None:
    response = decide(client, "ann", "plan/lader")
    assert response.status_code == 404
    assert response.json()["error"]["message"] == 'there is no model "plan/lader"; did you mean "plan/ladder"?'


@pytest.mark.parametrize("model", ["plan/", "plan/ladder[x", "plan/ladder[size]"])
def test_a_name_that_cannot_be_read_is_refused(client: httpx.Client, model: str) -> None:
    assert decide(client, "ann", model).status_code == 400


def test_a_request_that_the_plan_cannot_answer_is_refused_with_the_reason(client: httpx.Client) -> None:
    response = decide(client, "ann", "plan/ladder", seed=7)
    assert response.status_code == 400
    assert "sets `seed`, which only a single call can serve" in response.json()["error"]["message"]


def test_a_key_reaches_no_other_card_through_a_plan(client: httpx.Client) -> None:
    response = decide(client, "cheap-only", "plan/ladder")
    assert response.status_code == 403
    assert "dear" not in response.text


def test_a_key_whose_policies_choose_names_only_their_plans(client: httpx.Client) -> None:
    assert decide(client, "by-policy", "plan/ladder").status_code == 404
    assert decide(client, "by-plan", "plan/panel").status_code == 404
    # Its default policy has no plan; the one that has it must be named, too.
    assert decide(client, "by-plan", "plan/ladder").status_code == 404
    assert decide(client, "by-plan", "plan/ladder", route={"policy": "planned"}).status_code == 200


@pytest.mark.parametrize(
    ("key", "names"),
    [("ann", ["plan/ladder", "plan/panel"]), ("by-policy", []), ("by-plan", ["plan/ladder"])],
)
def test_the_list_of_models_has_the_plans_that_the_key_may_name(
    client: httpx.Client, key: str, names: list[str]
) -> None:
    assert listed(client, key) == names


def test_flags_that_only_narrow_never_add_a_plan(client: httpx.Client) -> None:
    single = decide(client, "by-plan", "auto/planned", route={"flags": "plan=single"}).json()
    assert single["plan"]["kind"] == "single"
    narrowed = decide(client, "by-plan", "auto/planned", route={"flags": "plan=cascade"})
    assert narrowed.status_code == 400


def test_a_plan_is_no_model_for_embeddings(client: httpx.Client) -> None:
    body = {"model": "plan/ladder", "input": "x"}
    response = client.post("/v1/embeddings", json=body, headers={"authorization": "Bearer pv-ann"})
    assert response.status_code == 400
    assert msgspec.json.decode(response.content)["error"]["message"].startswith("`model` must name a card")


class Threads(Router):
    """Notes whether it decides beside the event loop."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.seen: list[bool] = []

    def route(self, *arguments: Any, **named: Any) -> Routed:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.seen.append(True)
        else:
            self.seen.append(False)
        return super().route(*arguments, **named)


@pytest.mark.parametrize(("model", "beside"), [("plan/split", True), ("auto/parts", True), ("auto", False)])
def test_a_prompt_that_may_be_split_is_decided_beside_the_event_loop(
    model: str, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-gateway-secret")
    policies = [
        Policy(id="default", description="d", goals={"cheapest": 1.0}),
        Policy(id="parts", description="d", goals={"cheapest": 1.0}, plans=("split",)),
    ]
    plans = Plans([Segments(id="split", description="d")])
    tasks = "Answer the questions below:\n" + "\n".join(f"{n}. What is {n} times 7?" for n in range(1, 301))
    with upstream_server() as upstream:
        cards = [make_card("cheap", upstream.url), make_card("dear", upstream.url, price=5.0)]
        router = Threads(Catalog(cards), Policies(policies), IndifferentPredictor(), plans=plans)
        with served(make_app(make_gateway(router))) as url, httpx.Client(base_url=url, trust_env=False) as client:
            body = {"model": model, "messages": [{"role": "user", "content": tasks}]}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert router.seen == [beside]
