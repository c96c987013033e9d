from __future__ import annotations

import httpx
import pytest

from router.cards.schema import Effort, Efforts
from tests.gateway.servers import gateway_server, make_card, upstream_server


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_the_model_list_begins_with_auto_and_the_policies(gateway: httpx.Client, path: str) -> None:
    model_list = gateway.get(path).json()
    assert model_list["object"] == "list"
    assert [model["id"] for model in model_list["data"]][:3] == ["auto", "auto/alone", "auto/default"]
    assert {"id": "dear", "object": "model", "created": 0, "owned_by": "openai"} in model_list["data"]


@pytest.mark.parametrize("name", ["auto", "auto/alone", "dear"])
def test_a_model_is_returned_by_its_id(gateway: httpx.Client, name: str) -> None:
    assert gateway.get(f"/v1/models/{name}").json()["id"] == name


def test_a_model_is_returned_by_its_alias(gateway: httpx.Client) -> None:
    assert gateway.get("/v1/models/vendor%2Fdear").json()["id"] == "dear"


def test_an_effort_of_a_card_is_listed_and_can_be_called_by_its_name() -> None:
    with upstream_server() as upstream:
        card = make_card("thinker", upstream.url, efforts=Efforts(low=Effort(), high=Effort()))
        with gateway_server(card) as url, httpx.Client(base_url=url) as client:
            listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
            body = {"model": "thinker@low", "messages": [{"role": "user", "content": "hi"}]}
            response = client.post("/v1/chat/completions", json=body)
            unknown = client.post("/v1/chat/completions", json={**body, "model": "thinker@hi"}).json()
    assert listed[-3:] == ["thinker", "thinker@high", "thinker@low"]
    assert response.headers["x-route-card"] == "thinker@low"
    assert upstream.seen[0].body["reasoning_effort"] == "low"
    assert unknown["error"]["message"] == 'there is no model "thinker@hi"; did you mean "thinker@high"?'


def test_an_unknown_model_is_a_404(gateway: httpx.Client) -> None:
    response = gateway.get("/v1/models/deer")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_the_root_and_healthz_accept_get_and_head(gateway: httpx.Client, path: str) -> None:
    assert (gateway.get(path).status_code, gateway.head(path).status_code) == (200, 200)


ANTHROPIC = {"anthropic-version": "2023-06-01"}


def page(gateway: httpx.Client, **query: object) -> dict[str, object]:
    return dict(gateway.get("/v1/models", params=query, headers=ANTHROPIC).json())


def ids(page_: dict[str, object]) -> list[str]:
    data = page_["data"]
    assert isinstance(data, list)
    return [entry["id"] for entry in data]


def test_anthropics_clients_get_the_list_in_their_shape(gateway: httpx.Client) -> None:
    found = page(gateway, limit=1000)
    assert found["data"][0] == {  # type: ignore[index]
        "type": "model",
        "id": "auto",
        "display_name": "auto",
        "created_at": "1970-01-01T00:00:00Z",
    }
    assert ids(found) == [model["id"] for model in gateway.get("/v1/models").json()["data"]]
    assert (found["has_more"], found["first_id"], found["last_id"]) == (False, "auto", ids(found)[-1])


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_in_both_directions_give_every_name_once(gateway: httpx.Client, limit: int) -> None:
    names = ids(page(gateway, limit=1000))
    found = page(gateway, limit=limit)
    forward = ids(found)
    while found["has_more"]:
        found = page(gateway, limit=limit, after_id=found["last_id"])
        forward += ids(found)
    assert forward == names
    found = page(gateway, limit=limit, before_id=names[-1])
    backward = ids(found)
    while found["has_more"]:
        found = page(gateway, limit=limit, before_id=found["first_id"])
        backward = ids(found) + backward
    assert backward == names[:-1]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after_id": "no"}, {"before_id": "no"}]
)
def test_an_invalid_page_is_an_error_in_anthropics_shape(gateway: httpx.Client, query: dict[str, object]) -> None:
    response = gateway.get("/v1/models", params=query, headers=ANTHROPIC)
    assert (response.status_code, response.json()["type"]) == (400, "error")


def test_anthropics_clients_get_one_model_in_their_shape(gateway: httpx.Client) -> None:
    found = gateway.get("/v1/models/vendor%2Fdear", headers=ANTHROPIC).json()
    assert (found["type"], found["id"]) == ("model", "dear")
    assert gateway.get("/v1/models/nobody", headers=ANTHROPIC).json()["error"]["type"] == "not_found_error"
