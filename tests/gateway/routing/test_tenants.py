"""A card with a `tenant` exists for one key only: no surface shows another key that it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from router.cards import Catalog
from router.decide.plans.catalog import Plans
from router.decide.plans.spec import Cascade
from router.decide.policy import Policies, Policy
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.pipeline import Router
from tests.gateway.servers import (
    IndifferentPredictor,
    Upstream,
    make_card,
    make_gateway,
    make_router,
    served,
    upstream_server,
)

SECRET = "acme-sql"
# Every name of the card, its words that no other card has, and the plan and the alias that lead to it.
TRACES = ("acme", "upstream-name", "private-word", "hidden-plan", "private-alias")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_server() as server:
        yield server


@pytest.fixture
def client(upstream: Upstream) -> Iterator[httpx.Client]:
    """A gateway where the cheapest card of all is an adapter of the key `acme`."""
    cards = [
        make_card("base", upstream.url, "ok", price=2.0),
        make_card("dear", upstream.url, "ok", price=5.0),
        make_card(
            SECRET,
            upstream.url,
            "ok-upstream-name",
            price=1.0,
            kind="adapter",
            base="base",
            tenant="acme",
            aliases=("vendor/acme",),
            tags=("private-word",),
        ),
    ]
    plans = Plans(
        [
            Cascade(id="hidden-plan", description="d", members=(SECRET, "dear")),
            Cascade(id="ladder", description="d", members=("base", "dear")),
        ]
    )
    policies = [
        Policy(id="default", description="d", goals={"cheapest": 1.0}, fallbacks=3, headers="on"),
        Policy(id="planned", description="d", goals={"cheapest": 1.0}, plans=("hidden-plan", "ladder")),
        Policy(id="loyal", description="d", goals={"cheapest": 1.0}, guard="on", default=SECRET),
    ]
    aliases = {"private-alias": SECRET, "private-alias-plan": "plan/hidden-plan", "acme-*l": "base", "open": "auto"}
    catalog = Catalog(cards)
    keys = Keys(
        [
            Key(id="acme", hash=hash_of("pv-acme")),
            Key(id="bob", hash=hash_of("pv-bob")),
            Key(id="few", hash=hash_of("pv-few"), cards=("base", SECRET)),
            Key(id="ops", hash=hash_of("pv-ops"), operator=True),
        ],
        catalog.ids,
        {SECRET: "acme"},
    )
    router = Router(catalog, Policies(policies), IndifferentPredictor(), plans=plans)
    gateway = make_gateway(router, GatewayConfig(aliases=aliases), keys)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as http:
        yield http


def ask(client: httpx.Client, key: str, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, **fields}
    return client.post(path, json=body, headers={"authorization": f"Bearer pv-{key}"})


def read(client: httpx.Client, key: str, path: str, **headers: str) -> httpx.Response:
    return client.get(path, headers={"authorization": f"Bearer pv-{key}", **headers})


def shows(response: httpx.Response) -> list[str]:
    """What of the hidden card a response shows."""
    text = response.text + json.dumps(dict(response.headers))
    return [trace for trace in TRACES if trace in text]


def test_the_tenant_names_its_card_and_gets_it_by_routing(client: httpx.Client, upstream: Upstream) -> None:
    assert ask(client, "acme", model=SECRET).headers["x-route-card"] == SECRET
    assert ask(client, "acme").headers["x-route-card"] == SECRET
    assert upstream.models == ["ok-upstream-name", "ok-upstream-name"]


@pytest.mark.parametrize("key", ["bob", "few"])
def test_another_key_is_routed_past_it(client: httpx.Client, upstream: Upstream, key: str) -> None:
    assert ask(client, key).headers["x-route-card"] == "base"
    assert upstream.models == ["ok"]


@pytest.mark.parametrize("name", [SECRET, "vendor/acme", "ok-upstream-name", "private-alias", "plan/hidden-plan"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/route", "/v1/messages/count_tokens"])
def test_naming_it_is_a_404_as_for_an_unknown_name(client: httpx.Client, path: str, name: str) -> None:
    refused = ask(client, "bob", path, model=name)
    # `acme-*l` is an alias, whose target answers where no card of that name exists for the key.
    if name == SECRET:
        assert refused.status_code == 200
        return
    if name.startswith("plan/") and path.endswith("count_tokens"):
        # No card is called: the gateway counts for any name of a plan.
        return
    unknown = ask(client, "bob", path, model="zzz")
    assert refused.status_code == unknown.status_code == 404
    assert refused.text.replace(name, "zzz") == unknown.text


@pytest.mark.parametrize("name", ["acme-sqk", "private-alia", "plan/hidden-pla"])
def test_no_error_suggests_it(client: httpx.Client, name: str) -> None:
    for response in (ask(client, "bob", model=name), read(client, "bob", f"/v1/models/{name}")):
        assert [
            hint for hint in (SECRET, "private-alias", "hidden-plan") if f'did you mean "{hint}' in response.text
        ] == []
        assert response.status_code == 404


def test_the_suggestion_reaches_the_tenant(client: httpx.Client) -> None:
    error = read(client, "acme", "/v1/models/acme-sqk").json()["error"]
    assert error["message"].endswith(f'did you mean "{SECRET}"?')


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models", {}),
        ("/v1/models?limit=1000", {"anthropic-version": "2023-06-01"}),
        ("/api/tags", {}),
        ("/openapi.json", {}),
        ("/metrics", {}),
        ("/readyz", {}),
    ],
)
def test_no_list_shows_it(client: httpx.Client, path: str, headers: dict[str, str]) -> None:
    ask(client, "acme", model=SECRET)
    assert shows(read(client, "bob", path, **headers)) == []


def test_the_lists_of_the_tenant_show_it(client: httpx.Client) -> None:
    assert SECRET in read(client, "acme", "/v1/models").text
    assert "plan/hidden-plan" in read(client, "acme", "/v1/models").text
    assert SECRET in read(client, "acme", "/api/tags").text


@pytest.mark.parametrize("name", [SECRET, "vendor/acme", "ok-upstream-name", "private-alias", "plan/hidden-plan"])
@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
def test_its_entry_is_a_404(client: httpx.Client, name: str, headers: dict[str, str]) -> None:
    assert read(client, "bob", f"/v1/models/{name}", **headers).status_code == 404


def test_ollama_does_not_describe_it(client: httpx.Client) -> None:
    assert ask(client, "bob", "/api/show", model=SECRET).status_code == 404


@pytest.mark.parametrize(
    "model",
    [
        "auto",
        "auto[price<3$]",
        "auto/planned",
        "auto/loyal",
        "plan/ladder",
        "auto[tag=private-word]",
        "auto[card=acme-sql]",
        "auto[size<1B]",
        "auto/planned[plan=cascade,size<1B]",
    ],
)
def test_no_dry_run_shows_it(client: httpx.Client, model: str) -> None:
    response = ask(client, "bob", "/route", model=model)
    assert [trace for trace in shows(response) if trace not in model] == []
    assert "not allowed" not in response.text
    assert "available" not in response.json().get("binding", [])


def test_limits_that_only_it_meets_fail_as_if_there_were_no_such_card(client: httpx.Client) -> None:
    response = ask(client, "bob", model="auto[tag=private-word]")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "no_candidate")
    assert "(rejects 2 of 2)" in response.text
    assert ask(client, "acme", model="auto[tag=private-word]").status_code == 200


def test_readiness_counts_the_cards_that_exist_for_the_key(client: httpx.Client) -> None:
    assert read(client, "bob", "/readyz").json()["cards"] == {"callable": 2, "all": 2}
    assert read(client, "acme", "/readyz").json()["cards"] == {"callable": 3, "all": 3}


def test_the_operators_key_reads_the_metrics_of_all_cards(client: httpx.Client) -> None:
    ask(client, "acme", model=SECRET)
    assert f'card="{SECRET}"' in read(client, "ops", "/metrics").text
    assert f'card="{SECRET}"' in read(client, "acme", "/metrics").text
    assert read(client, "ops", f"/v1/models/{SECRET}").status_code == 404


@pytest.mark.parametrize("header", ["x-route-session", "x-route-flags"])
def test_a_conversation_of_the_tenant_leads_no_other_key_to_it(client: httpx.Client, header: str) -> None:
    value = "shared" if header == "x-route-session" else "card=acme-sql"
    for key in ("acme", "bob"):
        body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
        response = client.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer pv-{key}", header: value}
        )
        assert response.headers.get("x-route-card") != SECRET or key == "acme"


def test_no_fallback_is_a_card_of_another_tenant() -> None:
    with upstream_server() as upstream:
        cards = [
            make_card("base", upstream.url, "status-503", price=1.0),
            make_card(SECRET, upstream.url, "ok", price=2.0, kind="adapter", base="base", tenant="acme"),
        ]
        router = make_router(*cards)
        keys = Keys(
            [Key(id=name, hash=hash_of(f"pv-{name}")) for name in ("acme", "bob")], ["base", SECRET], {SECRET: "acme"}
        )
        with served(make_app(make_gateway(router, keys=keys))) as url, httpx.Client(base_url=url) as client:
            assert ask(client, "bob").status_code == 503
            assert upstream.models == ["status-503"]
            assert ask(client, "acme").status_code == 200
