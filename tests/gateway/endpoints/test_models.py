from __future__ import annotations

import httpx
import pytest


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


def test_an_unknown_model_is_a_404(gateway: httpx.Client) -> None:
    response = gateway.get("/v1/models/deer")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_the_root_and_healthz_accept_get_and_head(gateway: httpx.Client, path: str) -> None:
    assert (gateway.get(path).status_code, gateway.head(path).status_code) == (200, 200)
