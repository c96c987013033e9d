from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_the_list_begins_with_auto_and_the_policies(gateway: httpx.Client, path: str) -> None:
    listed = gateway.get(path).json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]][:3] == ["auto", "auto/alone", "auto/default"]
    assert {"id": "dear", "object": "model", "created": 0, "owned_by": "openai"} in listed["data"]


@pytest.mark.parametrize("name", ["auto", "auto/alone", "dear"])
def test_a_model_is_returned_by_its_id(gateway: httpx.Client, name: str) -> None:
    assert gateway.get(f"/v1/models/{name}").json()["id"] == name


def test_the_alias_of_a_card_returns_the_card(gateway: httpx.Client) -> None:
    assert gateway.get("/v1/models/vendor%2Fdear").json()["id"] == "dear"


def test_an_unknown_model_is_a_404(gateway: httpx.Client) -> None:
    answer = gateway.get("/v1/models/deer")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_the_gateway_answers_get_and_head(gateway: httpx.Client, path: str) -> None:
    assert (gateway.get(path).status_code, gateway.head(path).status_code) == (200, 200)
