"""The files of the page: nothing from elsewhere, nothing in the page itself that its own policy forbids."""

from __future__ import annotations

import posixpath
import re

import httpx
import pytest

from router.gateway.dashboard.assets import PAGE, assets

REFERENCE = re.compile(r'(?:href|src)="dashboard/assets/([^"]+)"|from "(\.[^"]+)"')


def own_files() -> list[str]:
    return [name for name in assets() if not name.startswith("vendor/")]


def test_every_file_that_is_referred_to_exists() -> None:
    found = {
        match[1] or posixpath.normpath(posixpath.join(posixpath.dirname(name), match[2]))
        for name in own_files()
        for match in REFERENCE.finditer(assets()[name].content.decode())
    }
    assert found <= assets().keys()
    assert assets().keys() - found == {PAGE}


@pytest.mark.parametrize("name", own_files())
def test_no_file_loads_anything_from_elsewhere(name: str) -> None:
    text = assets()[name].content.decode().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\((?!#)", text)


@pytest.mark.parametrize("name", [name for name in own_files() if name.endswith(".js")])
def test_text_is_never_set_as_html(name: str) -> None:
    text = assets()[name].content.decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    text = assets()[PAGE].content.decode()
    assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", text)


def test_the_page_needs_no_key_and_may_not_be_framed(dashboard: str) -> None:
    response = httpx.get(f"{dashboard}/dashboard", trust_env=False)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_file_that_has_not_changed_is_not_sent_again(dashboard: str) -> None:
    url = f"{dashboard}/dashboard/assets/main.js"
    first = httpx.get(url, trust_env=False)
    again = httpx.get(url, trust_env=False, headers={"if-none-match": first.headers["etag"]})
    assert (first.headers["content-type"], again.status_code, again.content) == (
        "text/javascript; charset=utf-8",
        304,
        b"",
    )


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fassets.py", "../assets.py", "vendor/uplot.LICENSE.txt", "views", "%2e%2e/api.py"]
)
def test_nothing_else_is_served(dashboard: str, name: str) -> None:
    assert httpx.get(f"{dashboard}/dashboard/assets/{name}", trust_env=False).status_code in (400, 404)
