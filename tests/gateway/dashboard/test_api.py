"""The JSON of the dashboard: for operators only, and the same figures as the command line has."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from router import Router
from router.analysis.drift.judged import CardDrift, Judged
from router.analysis.drift.stored import to_bytes
from router.cards.servers import Place
from router.formats.quantities import Dollars
from router.gateway.app import make_app
from router.gateway.config.gateway_yaml import GatewayConfig
from router.gateway.config.keys import Key, Keys, hash_of
from router.gateway.dashboard.traffic import traffic
from router.gateway.learning.drift import DRIFT
from router.gateway.learning.memories import basis_of
from router.store.backend import FolderBackend
from router.store.records.journal import Journal
from router.store.records.record import Record, ShadowRecord, Side
from router.store.records.sqlite import SqliteRecords
from router.store.state.protocol import Blob, Claim
from router.store.state.sqlite import SqliteState
from router.types import Attempt, Outcome
from tests.dispatch.lora.scripted import ScriptedVllm, running
from tests.gateway.adapters.setup import make_cards, router_of
from tests.gateway.dashboard.conftest import HOSTED
from tests.gateway.servers import make_card, make_gateway, make_router, served
from tests.store.records.examples import record

PATHS = (
    *("setup", "cards", "traffic", "budgets", "savings", "routing", "values", "what-if", "drift", "days", "gaps"),
    *("requests", "requests/req_0000", "live"),
)


def read(client: httpx.Client, path: str) -> Any:
    response = client.get(f"/dashboard/api/{path}")
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("key", "status"), [("", 401), ("wrong", 401), ("ann", 403)])
def test_only_an_operator_reads_it(dashboard: str, path: str, key: str, status: int) -> None:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    response = httpx.get(f"{dashboard}/dashboard/api/{path}", headers=headers, trust_env=False)
    assert response.status_code == status
    assert "secret" not in response.text


def test_without_keys_everyone_on_this_machine_is_an_operator(shipped: Router) -> None:
    with served(make_app(make_gateway(shipped))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert read(client, "setup")["has_keys"] is False
        foreign = client.get("/dashboard/api/setup", headers={"origin": "https://evil.example"})
        rebound = client.get("/dashboard/api/setup", headers={"host": "evil.example"})
    assert (foreign.status_code, rebound.status_code) == (403, 403)


def test_there_is_no_dashboard_where_it_is_switched_off(shipped: Router) -> None:
    app = make_app(make_gateway(shipped, GatewayConfig(dashboard=False)))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        paths = ("/dashboard", "/dashboard/assets/main.js", "/dashboard/api/setup")
        assert [client.get(path).status_code for path in paths] == [404, 404, 404]


def test_a_gateway_without_records_says_so(shipped: Router) -> None:
    with served(make_app(make_gateway(shipped))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        response = client.get("/dashboard/api/traffic")
    assert response.status_code == 503
    assert "keeps no records" in response.json()["error"]["message"]


def test_the_traffic_counts_requests_to_models(operator: httpx.Client) -> None:
    found = read(operator, "traffic?hours=24")
    assert sum(hour["requests"] for hour in found["hours"]) == 32
    assert sum(hour["errors"] for hour in found["hours"]) == 1
    assert sum(hour["cost_usd"] for hour in found["hours"]) == pytest.approx(30 * 0.002 + 0.0001)
    assert found["timed"] == 31
    assert found["latency_ms"][0] <= found["latency_ms"][1]


def test_budgets_are_shown_with_what_is_spent_of_them_today(shipped: Router) -> None:
    state = SqliteState()
    keys = Keys(
        [
            Key(id="boss", hash=hash_of("boss"), operator=True),
            Key(id="ann", hash=hash_of("ann"), budget_usd_per_day=Dollars(4.0)),
            Key(id="idle", hash=hash_of("idle"), budget_usd_per_day=Dollars(1.0)),
        ],
        [],
    )

    async def spend() -> None:
        reserved = await state.reserve(Claim("ann", 4.0, 1.0), time.time())
        await state.settle(reserved, 1.0)

    asyncio.run(spend())
    with served(make_app(make_gateway(shipped, GatewayConfig(), keys, state=state))) as url:
        headers = {"authorization": "Bearer boss"}
        with httpx.Client(base_url=url, trust_env=False, headers=headers) as client:
            assert read(client, "budgets") == {"budgets": [{"key": "ann", "budget_usd": 4.0, "spent_usd": 1.0}]}


def test_the_times_of_the_traffic_are_those_of_clients(tmp_path: Path) -> None:
    pair = ShadowRecord("r", "default", Side("gpt-4o", 5, 9.0))
    with SqliteRecords.open(tmp_path) as records:
        answered = record("r", at=1000.0, outcome=Outcome(200, 100.0, "gpt-4o"))
        late = record("s", at=1001.0, outcome=Outcome(200, 9000.0, "gpt-4o"), surface="shadow", shadow=pair)
        records.add([answered, late], 0)
        found = traffic(records, 0.0, 2000.0)
    assert (found.timed, found.latency_ms) == (1, (100.0, 100.0))


def test_requests_are_listed_newest_first_in_pages(operator: httpx.Client) -> None:
    ids, before = [], ""
    while True:
        page = read(operator, f"requests?limit=10{before}")
        ids += [row["id"] for row in page["requests"]]
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert ids[:3] == ["list", "failed", "by-name"]
    assert ids[3:] == [f"req_{number:04}" for number in reversed(range(30))]


def test_no_request_of_the_same_time_is_skipped_between_pages(shipped: Router, tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([record(f"r{number}", at=1000.0) for number in range(7)], 0)
    with (
        served(make_app(make_gateway(shipped, backend=FolderBackend(tmp_path)))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        pages, before = [], ""
        while before is not None:
            page = read(client, f"requests?limit=3&before={before}")
            pages.append([row["id"] for row in page["requests"]])
            before = page["before"]
    assert pages == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]


def test_pages_continue_only_after_a_request_that_exists(operator: httpx.Client) -> None:
    response = operator.get("/dashboard/api/requests?before=gone")
    assert (response.status_code, response.json()["error"]["param"]) == (404, "before")


def test_a_limit_below_one_is_one(operator: httpx.Client) -> None:
    assert len(read(operator, "requests?limit=0.5")["requests"]) == 1


@pytest.mark.parametrize(
    ("query", "expected"), [("errors=1", {"failed"}), ("card=gpt-4o-mini&routed=0", {"by-name"}), ("key=nobody", set())]
)
def test_requests_are_filtered(operator: httpx.Client, query: str, expected: set[str]) -> None:
    found = {row["id"] for row in read(operator, f"requests?{query}")["requests"] if not row["id"].startswith("req_")}
    assert found == expected


def test_a_request_is_decided_again_as_it_was_and_as_it_would_be(operator: httpx.Client) -> None:
    found = read(operator, "requests/req_0000")
    assert found["then"]["same"]
    assert found["now"]["same"]
    assert found["then"]["decision"]["card"] == found["row"]["card"]
    assert found["then"]["decision"]["candidates"][0]["parts"]
    assert found["feedback"][0]["comment"] == "right"
    assert "vector" not in found["decision"]


def test_what_a_client_wrote_is_not_shown(operator: httpx.Client) -> None:
    found = read(operator, "requests/by-name")
    assert found["has_prompt"]
    assert "secret words" not in json.dumps(found)
    assert "decision" not in found


def test_an_unknown_request_is_a_404(operator: httpx.Client) -> None:
    assert operator.get("/dashboard/api/requests/req_none").status_code == 404


@pytest.mark.parametrize("query", ["hours=-1", "hours=week", "hours=nan", "hours=inf"])
def test_a_time_that_is_none_is_a_400(operator: httpx.Client, query: str) -> None:
    response = operator.get(f"/dashboard/api/traffic?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "hours")


def test_savings_have_every_card_that_could_be_compared(operator: httpx.Client) -> None:
    found = read(operator, "savings")["savings"]
    assert found["total"]["requests"] == 30
    assert found["total"]["single"] == found["singles"][found["card"]]
    assert "gpt-4o-mini" in found["singles"]


def test_forecasts_are_compared_with_feedback(operator: httpx.Client) -> None:
    found = read(operator, "routing")
    assert sum(one["requests"] for one in found["guards"]) == found["requests"] == 30
    assert found["judged"] == 2
    assert sum(one["answers"] for one in found["calibration"]) == 2


def test_a_change_of_a_card_is_shown_with_what_to_do(shipped: Router, tmp_path: Path) -> None:
    card = shipped.catalog.named("gpt-4o")
    drift = CardDrift.empty(basis_of(shipped.predictor.id, card, shipped.evidence.get(card.id)))
    for number in range(260):
        drift = drift.add(Judged(1_790_000_000.0 + number, "ab"[number % 2], 0.8, float(number < 220), "maths"))
    state = SqliteState(tmp_path / "state.sqlite")
    asyncio.run(state.swap_blob(Blob(f"{DRIFT}gpt-4o", 0, to_bytes(drift)), 0))
    app = make_app(make_gateway(shipped, state=state))
    with served(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        found = read(client, "drift")
        metrics = client.get("/metrics").text
    alarm = found["alarms"][0]
    assert (alarm["card"], alarm["direction"], alarm["ended_s"]) == ("gpt-4o", "worse", None)
    assert alarm["advice"].startswith("gpt-4o: read its judged answers")
    assert found["judged"] == 260
    assert re.search(r"^pulvinar_drift_alarms [12]\.0$", metrics, re.MULTILINE)


def test_the_playground_decides_as_the_dry_run_does(operator: httpx.Client) -> None:
    body = {
        "model": "auto/default",
        "messages": [{"role": "user", "content": "What is 17*23?"}],
        "route": {"flags": "cheapest*2"},
    }
    shown = operator.post("/dashboard/api/decide", json=body).json()
    assert shown == operator.post("/route", json=body).json()
    assert shown["flags"] == "cheapest*2"


def test_calls_that_failed_are_counted_although_another_one_answered(operator: httpx.Client) -> None:
    calls = {one["deployment"]: one for one in read(operator, "traffic")["calls"]}
    assert sum(one["failed"] for one in calls.values()) == 30 + 1
    assert calls["gpt-4o"]["faults"] == {"refused": 1}
    assert all(one["failed"] * 2 == one["calls"] for name, one in calls.items() if name != "gpt-4o")


def test_the_most_frequent_failure_of_calls_is_none_of_the_request(tmp_path: Path) -> None:
    faults = ["context"] * 8 + ["http_500"] * 3 + ["late"] * 2 + [None] * 2
    attempts = tuple(Attempt("gpt-4o", "gpt-4o", None, 1.0, fault) for fault in faults)
    asked_too_much = (Attempt("small", "small", 400, 1.0, "context"),)
    with SqliteRecords.open(tmp_path) as records:
        records.add([record("r", at=1000.0, outcome=Outcome(200, 100.0, "gpt-4o", attempts))], 0)
        records.add([record("s", at=1000.0, outcome=Outcome(400, 100.0, attempts=asked_too_much))], 0)
        found = {one.deployment: one for one in traffic(records, 0.0, 2000.0).calls}
    assert (found["gpt-4o"].failed, found["gpt-4o"].main_fault) == (5, "http_500")
    assert (found["small"].failed, found["small"].main_fault) == (0, None)


def test_domains_are_those_that_the_predictor_reads(operator: httpx.Client) -> None:
    found = read(operator, "routing")
    cells = found["domains"]
    assert {cell["domain"] for cell in cells} == {"maths", "chat"}
    assert sum(cell["requests"] for cell in cells) == found["requests"] == found["of"] == 30
    assert sum(cell["judged"] for cell in cells) == 2
    assert sum(span["requests"] for span in found["novelty"]) == 30
    assert all(0 <= span["novelty"] <= 1 for span in found["novelty"])


def test_the_value_of_a_card_is_what_its_absence_would_cost(operator: httpx.Client, shipped: Router) -> None:
    found = read(operator, "values")
    assert found["requests"] == 30
    assert sum(card["best"] for card in found["cards"]) == pytest.approx(1.0)
    assert all((card["value_usd"] > 0) <= (card["best"] > 0) for card in found["cards"])
    assert found["cards"][0]["value_usd"] > 0
    # Only these providers had a key.
    assert {shipped.catalog.named(card["card"]).provider for card in found["cards"]} <= set(HOSTED)


def test_dearer_money_makes_requests_cheaper_and_not_better(operator: httpx.Client) -> None:
    found = read(operator, "what-if?cost=50")
    assert found["requests"] == 30
    assert found["changed"] == sum(move["requests"] for move in found["moves"]) > 0
    assert found["then"]["cost_usd"] < found["now"]["cost_usd"]
    assert found["then"]["quality"] <= found["now"]["quality"]
    assert found["unmoved"] == ["best"]


def test_the_same_weight_of_money_changes_nothing(operator: httpx.Client) -> None:
    found = read(operator, "what-if?cost=1")
    assert (found["changed"], found["now"]) == (0, found["then"])


@pytest.mark.parametrize("factor", ["0.001", "1000", "much"])
def test_a_factor_out_of_range_is_a_400(operator: httpx.Client, factor: str) -> None:
    assert operator.get(f"/dashboard/api/what-if?cost={factor}").status_code == 400


def test_cards_are_shown_without_what_calls_need(operator: httpx.Client, shipped: Router) -> None:
    found = {card["id"]: card for card in read(operator, "cards")["cards"]}
    assert list(found) == list(shipped.catalog.ids)
    assert all(not {"headers", "api_key_env"} & card["facts"].keys() for card in found.values())
    assert found["gpt-4o"]["facts"]["price"]
    assert found["gpt-4o"]["deployments"][0]["running"] == 0


def test_the_live_state_is_a_stream_of_events(operator: httpx.Client) -> None:
    with operator.stream("GET", "/dashboard/api/live") as response:
        line = next(response.iter_lines())
    assert response.headers["content-type"].startswith("text/event-stream")
    assert json.loads(line.removeprefix("data: "))["in_flight"] == 0


def test_the_page_itself_leaves_no_records(shipped: Router, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"backend": FolderBackend(tmp_path), "journal": Journal.open(tmp_path)}
    with served(make_app(make_gateway(shipped, **parts))) as url, httpx.Client(base_url=url, trust_env=False) as client:
        read(client, "setup")
        client.get("/v1/models")
    with SqliteRecords.open(tmp_path) as records:
        assert [record.surface for record in records.scan()] == ["models"]


def test_what_servers_hold_of_adapters_is_shown() -> None:
    server = ScriptedVllm()
    with running(server):
        gateway = make_gateway(router_of(make_cards([server.url], pinned=("b",))))
        with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
            assert client.post("/adapters/load", json={"adapter": "a"}).status_code == 200
            found = read(client, "cards")
    [held] = found["servers"]
    assert (held["server"], held["slots"]) == ("base#1", 2)
    assert {each["card"]: each["pinned"] for each in held["adapters"]}["a"] is False
    assert all(each["idle_s"] >= 0 for each in held["adapters"])
    assert {card["id"] for card in found["cards"]} == {"base", "a", "b", "c"}


def test_a_deployment_that_cools_down_says_for_how_long(shipped: Router) -> None:
    gateway = make_gateway(shipped)
    pool = gateway.dispatcher.pool
    [deployment] = pool.deployments_of(shipped.catalog.named("gpt-4o"))
    for _ in range(20):
        slot = pool.begin(deployment)
        pool.record_failure(slot)
        pool.end(slot)
    with served(make_app(gateway)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        cards = {card["id"]: card for card in read(client, "cards")["cards"]}
    [shown] = cards["gpt-4o"]["deployments"]
    assert (shown["state"], shown["works"]) == ("cooling_down", False)
    assert shown["wait_s"] > 0


def test_the_keys_of_a_cards_servers_are_not_shown() -> None:
    places = (Place("http://127.0.0.1:1/v1", api_key_env="SECRET_NAME"), Place("http://127.0.0.1:2/v1"))
    card = make_card("small", "", base_url=None, deployments=places)
    with (
        served(make_app(make_gateway(make_router(card)))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        [shown] = read(client, "cards")["cards"]
    assert [place["base_url"] for place in shown["facts"]["deployments"]] == [place.base_url for place in places]
    assert "SECRET_NAME" not in json.dumps(shown)


def test_answers_of_shadows_are_beside_those_of_clients_and_experiments_in_the_setup(
    shipped: Router, tmp_path: Path
) -> None:
    first, second = Side("small", 10, 400.0, cost_usd=0.001), Side("large", 20, 900.0, cost_usd=0.01)
    shadow = ShadowRecord("r1", "default", first, second, same=True)
    outcome = Outcome(200, 900.0, card="large", cost_usd=0.01)
    with SqliteRecords.open(tmp_path) as records:
        records.add([Record("s1", time.time(), "shadow", "large", False, outcome, shadow=shadow)], 1.0)
    with served(make_app(make_gateway(shipped, backend=FolderBackend(tmp_path)))) as url:
        (report,) = httpx.get(f"{url}/dashboard/api/routing", trust_env=False).json()["shadows"]
        setup = httpx.get(f"{url}/dashboard/api/setup", trust_env=False).json()
    assert (report["policy"], report["target"], report["pairs"], report["same"]) == ("default", "large", 1, 1.0)
    assert setup["experiments"] == {}
