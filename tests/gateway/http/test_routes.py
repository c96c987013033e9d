"""The route table: the application, the surfaces, the wire protocols and the documentation agree with it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from router.gateway.http import surfaces
from router.gateway.http.routes import ENDPOINTS
from router.gateway.http.surfaces import Surface
from router.wire.protocols import PROTOCOLS

SERVING = Path(__file__).parents[3] / "docs" / "serving.md"
SURFACES = [value for value in vars(surfaces).values() if isinstance(value, Surface)]


def documented_endpoints() -> set[tuple[str, str]]:
    """Method and path of every endpoint in the table of docs/serving.md."""
    table = SERVING.read_text("utf-8").partition("## Endpoints")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(GET|POST) [^|]*\|", table, re.MULTILINE)
    cells = re.findall(r"^\| (`(?:GET|POST) [^|]*)\|", table, re.MULTILINE)
    return {
        (method, path)
        for method, cell in zip(rows, cells, strict=True)
        for path in re.findall(r"`(?:\w+ )?(/[^`]*)`", cell)
    }


def test_the_documented_endpoints_are_those_of_the_table() -> None:
    assert documented_endpoints() == {
        (endpoint.method, endpoint.path) for endpoint in ENDPOINTS.values() if endpoint.summary is not None
    }


def test_every_surface_has_an_endpoint_and_the_path_of_its_protocol() -> None:
    assert len(SURFACES) == 8
    for surface in SURFACES:
        if surface.api not in PROTOCOLS:
            assert ENDPOINTS[surface.name].path == f"/api/{surface.name.removeprefix('ollama_')}"
            continue
        path = f"/v1/{PROTOCOLS[surface.api].path}"
        suffix = "/count_tokens" if surface.name == "count_tokens" else ""
        assert ENDPOINTS[surface.name].path == path + suffix
        assert ENDPOINTS[surface.name].streams == (surface.streams and not suffix)


@pytest.mark.parametrize("operation", ENDPOINTS)
def test_every_path_of_an_endpoint_is_served_by_its_method_only(gateway: httpx.Client, operation: str) -> None:
    endpoint = ENDPOINTS[operation]
    other = "GET" if endpoint.method == "POST" else "POST"
    for path in (path.replace("{model}", "auto") for path in endpoint.paths):
        assert gateway.request(endpoint.method, path).status_code not in (404, 405)
        assert gateway.request(other, path).status_code == 405


def test_api_paths_work_with_and_without_v1() -> None:
    assert ENDPOINTS["chat"].paths == ("/v1/chat/completions", "/chat/completions")
    assert ENDPOINTS["route"].paths == ("/route", "/v1/route")
    assert ENDPOINTS["readyz"].paths == ("/readyz",)
