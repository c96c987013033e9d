"""The dashboard in a real Chromium: what an operator does, without script errors, and readable by a screen reader."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.gateway.app import make_app
from router.pipeline import Router
from router.store.backend import FolderBackend
from tests.gateway.dashboard.conftest import KEYS, fill
from tests.gateway.servers import make_gateway, served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed"),
    # One browser for all of them.
    pytest.mark.xdist_group("browser"),
]
PAGES = {
    "now": "Now",
    "routing": "Routing",
    "requests": "Requests",
    "requests/req_0000": "req_0000",
    "cards": "Cards",
    "cards/gpt-4o": "gpt-4o",
    "playground": "Playground",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def local(shipped: Router, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway without keys, whose requests are all of the last hour."""
    folder = tmp_path_factory.mktemp("store")
    fill(folder, shipped)
    with served(make_app(make_gateway(shipped, backend=FolderBackend(folder)))) as url:
        yield f"{url}/dashboard"


class Tab:
    """A page of the browser, and what went wrong in it."""

    def __init__(self, page: sync_api.Page) -> None:
        self.page, self.problems = page, []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))

    def open(self, url: str, heading: str) -> None:
        self.page.goto(url)
        self.page.get_by_role("heading", level=1, name=heading, exact=True).wait_for(timeout=20_000)


@pytest.fixture
def tab(browser: sync_api.Browser) -> Iterator[Tab]:
    context = browser.new_context()
    yield Tab(context.new_page())
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_without_an_error_and_is_accessible(
    browser: sync_api.Browser, local: str, scheme: str
) -> None:
    context = browser.new_context(color_scheme=scheme)
    tab = Tab(context.new_page())
    for name, heading in PAGES.items():
        tab.open(f"{local}#/{name}", heading)
        tab.page.wait_for_timeout(300)
        found = axe.Axe().run(tab.page).response["violations"]
        serious = {(one["id"], one["help"]) for one in found if one["impact"] in ("serious", "critical")}
        assert (name, serious) == (name, set())
    assert tab.problems == []
    context.close()


@pytest.mark.parametrize("name", [*PAGES])
def test_no_page_is_wider_than_a_phone(browser: sync_api.Browser, local: str, name: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    tab = Tab(context.new_page())
    tab.open(f"{local}#/{name}", PAGES[name])
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_a_text_of_a_client_is_shown_and_not_run(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/requests?errors=1", "Requests")
    tab.page.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    assert tab.problems == []


def test_the_weight_of_a_goal_moves_the_choice_and_what_is_copied(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/playground?policy=best", "Playground")
    tab.page.locator("#turn-0").fill("Prove that there are infinitely many primes.")
    chosen = tab.page.locator("#chosen")
    chosen.wait_for()
    before = chosen.inner_text()
    tab.page.get_by_label("size", exact=True).fill("3")
    sync_api.expect(chosen).not_to_have_text(before)
    sync_api.expect(tab.page.locator("pre").first).to_have_text("smallest*3")
    assert "smallest=3" in tab.page.url
    tab.page.reload()
    sync_api.expect(tab.page.get_by_label("size", exact=True)).to_have_value("3")


def test_a_limit_that_cannot_be_read_is_explained(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/playground", "Playground")
    tab.page.get_by_label("Limits").fill("sise<9B")
    tab.page.get_by_role("alert").get_by_text(re.compile("size")).wait_for()


def test_a_table_is_sorted_and_saved(tab: Tab, local: str, tmp_path: Path) -> None:
    tab.open(f"{local}#/requests", "Requests")
    head = tab.page.get_by_role("columnheader", name="cost")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="JSON").click()
    file = tmp_path / "requests.json"
    download.value.save_as(file)
    assert len(json.loads(file.read_text())) == 33


def test_the_pages_are_reached_by_the_keyboard(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/now", "Now")
    for _ in range(4):
        tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("heading", level=1, name="Routing").wait_for()


def test_a_gateway_with_keys_asks_for_that_of_an_operator(tab: Tab, dashboard: str) -> None:
    assert [key.id for key in KEYS] == ["boss", "ann"]
    tab.page.goto(f"{dashboard}/dashboard")
    for key in ("ann", "boss"):
        field = tab.page.get_by_label(re.compile("API key"))
        field.fill(key)
        tab.page.get_by_role("button", name="Open").click()
    tab.page.get_by_role("heading", level=1, name="Now").wait_for()
    assert "boss" not in tab.page.url


def test_an_empty_store_says_what_to_do(tab: Tab, shipped: Router, tmp_path: Path) -> None:
    FolderBackend(tmp_path).feedback().close()
    with served(make_app(make_gateway(shipped, backend=FolderBackend(tmp_path)))) as url:
        tab.open(f"{url}/dashboard", "Now")
        tab.page.get_by_text("Point a client at this gateway").wait_for()
