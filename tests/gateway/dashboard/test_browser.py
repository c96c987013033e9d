"""The dashboard in a real Chromium: what an operator does, without script errors, and readable by a screen reader."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import pytest

from router.decide.policy import Policies, load_policies
from router.gateway.app import make_app
from router.pipeline import Router
from router.store.backend import FolderBackend
from router.store.records.sqlite import SqliteRecords
from tests.gateway.dashboard.conftest import KEYS, fill
from tests.gateway.servers import make_gateway, served
from tests.store.records.examples import record

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
    "changes": "Changes",
    "requests": "Requests",
    "requests/req_0000": "req_0000",
    "cards": "Cards",
    "cards/gpt-4o": "gpt-4o",
    "playground": "Playground",
    "playground?plan=cheap-first": "Playground",
}
# How an element would be found is not computed, since no test reads it.
_CHECKS = {"resultTypes": ["violations"], "selectors": False, "preload": False}
# The schemes differ in nothing but colours.
RULES = {"light": _CHECKS, "dark": {**_CHECKS, "runOnly": ["color-contrast", "link-in-text-block"]}}
DESKTOP: sync_api.ViewportSize = {"width": 1280, "height": 720}
PHONE: sync_api.ViewportSize = {"width": 360, "height": 740}

Scheme = Literal["light", "dark"]
UNSAVABLE = """() => [...document.querySelectorAll("main table:not(.heat, .u-legend)")]
    .filter((table) => [...table.parentElement.parentElement.querySelectorAll(":scope > .export > button")]
        .map((button) => button.textContent).join() !== "CSV,JSON")
    .map((table) => table.parentElement.ariaLabel)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """One page for all tests: another one would start another process of the browser, for a second of CPU."""
    with browser.new_context(viewport=DESKTOP, color_scheme="light") as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def local(shipped: Router, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway without keys, whose requests are all of the last hour."""
    folder = tmp_path_factory.mktemp("store")
    fill(folder, shipped)
    with served(make_app(make_gateway(shipped, backend=FolderBackend(folder)))) as url:
        yield f"{url}/dashboard"


@pytest.fixture(scope="module")
def empty(shipped: Router, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway whose store has no requests yet."""
    folder = tmp_path_factory.mktemp("store")
    FolderBackend(folder).feedback().close()
    with served(make_app(make_gateway(shipped, backend=FolderBackend(folder)))) as url:
        yield f"{url}/dashboard"


# Until the next document replaces it, this one asks its gateway nothing more, which need not wait for the stream of
# events.
_LEAVE = """() => {
  const last = setTimeout(() => 0);
  window.setTimeout = window.setInterval = () => 0;
  for (let id = last; id > 0; id--) clearTimeout(id);
  window.stop();
  if (location.origin !== "null") sessionStorage.clear();
}"""


class Tab:
    """The page with a document of its own, and what went wrong in it."""

    documents = itertools.count()

    def __init__(self, page: sync_api.Page) -> None:
        self.page, self.problems = page, []
        self._query = f"?document={next(self.documents)}"
        page.on("pageerror", self._error)
        page.on("console", self._log)

    def open(self, url: str, heading: str) -> None:
        # Only another query makes another document; what follows # does not.
        self.page.goto(url.replace("#", f"{self._query}#", 1))
        self.page.get_by_role("heading", level=1, name=heading, exact=True).wait_for(timeout=20_000)

    def leave(self) -> None:
        self.page.remove_listener("pageerror", self._error)
        self.page.remove_listener("console", self._log)
        self.page.emulate_media(color_scheme="light")
        self.page.evaluate(_LEAVE)

    def _error(self, error: sync_api.Error) -> None:
        self.problems.append(str(error))

    def _log(self, message: sync_api.ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)


@pytest.fixture
def tab(page: sync_api.Page) -> Iterator[Tab]:
    tab = Tab(page)
    yield tab
    tab.leave()


@pytest.fixture
def phone(tab: Tab) -> Iterator[Tab]:
    tab.page.set_viewport_size(PHONE)
    yield tab
    tab.page.set_viewport_size(DESKTOP)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_without_an_error_and_is_accessible(tab: Tab, local: str, scheme: Scheme) -> None:
    tab.page.emulate_media(color_scheme=scheme)
    # All of them are one document, which loads this once.
    tab.open(f"{local}#/now", "Now")
    tab.page.evaluate(axe.Axe().axe_script)
    for name, heading in PAGES.items():
        tab.open(f"{local}#/{name}", heading)
        tab.page.wait_for_timeout(300)
        found = tab.page.evaluate("options => axe.run(options)", RULES[scheme])["violations"]
        serious = {(one["id"], one["help"]) for one in found if one["impact"] in ("serious", "critical")}
        assert (name, serious) == (name, set())
    assert tab.problems == []


@pytest.mark.parametrize("name", [*PAGES])
def test_no_page_is_wider_than_a_phone(phone: Tab, local: str, name: str) -> None:
    phone.open(f"{local}#/{name}", PAGES[name])
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


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


def test_every_table_can_be_saved(tab: Tab, local: str) -> None:
    for name, heading in PAGES.items():
        tab.open(f"{local}#/{name}", heading)
        # Nothing was judged in this store, so Changes says that it has no tables.
        tab.page.locator(".export, .empty").first.wait_for(state="attached")
        # uPlot's legend is a table, too, and the map of cards and domains has its numbers in one beside it.
        assert tab.page.evaluate(UNSAVABLE) == [], name


def test_the_values_of_cards_are_computed_when_asked_for(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/cards", "Cards")
    tab.page.get_by_role("button", name="Compute").click()
    tab.page.get_by_role("region", name="value-of-cards").get_by_role("link").first.wait_for()


def test_a_card_whose_calls_fail_is_named_first(tab: Tab, local: str) -> None:
    for name in ("now", "cards"):
        tab.open(f"{local}#/{name}", PAGES[name])
        sync_api.expect(tab.page.locator("p.alert").first).to_contain_text("Unwell: ")


def test_a_request_says_in_words_why_it_went_there(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/requests/req_0000", "req_0000")
    story = tab.page.locator("p.answer")
    sync_api.expect(story).to_contain_text("was chosen by policy default")
    sync_api.expect(story).to_contain_text("failed (overloaded)")


def test_another_weight_of_cost_is_kept_in_the_address(tab: Tab, local: str) -> None:
    tab.open(f"{local}#/routing?hours=24", "Routing")
    tab.page.get_by_label("Cost weighs").select_option("10")
    sync_api.expect(tab.page.locator("p.answer")).to_contain_text("would go elsewhere")
    tab.page.reload()
    sync_api.expect(tab.page.get_by_label("Cost weighs")).to_have_value("10")


def test_older_requests_are_a_page_away_and_back(tab: Tab, shipped: Router, tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([record(f"r{number:03}", at=1000.0) for number in range(130)], 0)
    with served(make_app(make_gateway(shipped, backend=FolderBackend(tmp_path)))) as url:
        tab.open(f"{url}/dashboard#/requests", "Requests")
        rows = tab.page.locator("main tbody tr")
        assert rows.count() == 100
        tab.page.get_by_role("link", name="Older").click()
        sync_api.expect(rows).to_have_count(30)
        sync_api.expect(rows.first).to_contain_text("r029")
        tab.page.get_by_role("link", name="Newest").click()
        sync_api.expect(rows).to_have_count(100)


def test_a_new_request_appears_by_itself(tab: Tab, shipped: Router, tmp_path: Path) -> None:
    with SqliteRecords.open(tmp_path) as records:
        records.add([record("first")], 0)
        with served(make_app(make_gateway(shipped, backend=FolderBackend(tmp_path)))) as url:
            tab.open(f"{url}/dashboard#/requests", "Requests")
            records.add([record("second", at=2_000_000.0)], 0)
            tab.page.get_by_role("link", name="second").wait_for()


@pytest.mark.parametrize("name", ["now", "routing", "changes", "requests", "cards", "playground"])
def test_an_empty_store_says_what_to_do(tab: Tab, empty: str, name: str) -> None:
    tab.open(f"{empty}#/{name}", PAGES[name])
    if name != "playground":
        hints = tab.page.locator("main .empty")
        sync_api.expect(hints.first).to_contain_text(re.compile(r"model|route|adapters"))
    assert tab.problems == []


def test_a_gateway_without_records_still_shows_its_cards(tab: Tab, shipped: Router) -> None:
    with served(make_app(make_gateway(shipped))) as url:
        tab.open(f"{url}/dashboard#/cards", "Cards")
        assert tab.page.locator("main tbody tr").count() > 10


STATES = (
    "policy=best&smallest=1.5&limits=price<20$",
    "policy=default&cheapest=0.3&plan=cheap-first",
    "policy=cheap&plan=single&fastest=0.5",
    "policy=default",
)


@pytest.mark.parametrize("state", STATES)
def test_what_is_copied_decides_as_the_page_does(
    tab: Tab, local: str, shipped: Router, tmp_path: Path, state: str
) -> None:
    with tab.page.expect_response("**/dashboard/api/decide") as answer:
        tab.open(f"{local}#/playground?{quote(state, safe='=&')}", "Playground")
    shown = answer.value.json()
    texts = {
        name: tab.page.locator(f"details[data-form='{name}'] pre").text_content() or ""
        for name in ("flags", "header", "policy YAML", "curl")
    }
    named = re.search(r"plan=(cheap-first)", state)
    gateway = local.removesuffix("/dashboard")
    messages = [{"role": "user", "content": "Prove that there are infinitely many primes."}]
    model = f"plan/{named[1]}" if named else "auto"

    def decided(body: dict[str, Any], headers: dict[str, str], url: str = f"{gateway}/route") -> Any:
        return httpx.post(url, json=body, headers=headers, trust_env=False).json()

    headers = dict(line.split(": ", 1) for line in texts["header"].splitlines())
    assert decided({"model": model, "messages": messages}, headers) == shown
    flags = {} if texts["flags"] == "(none)" else {"flags": texts["flags"]}
    policy = re.search(r"policy=(\w+)", state)
    assert policy is not None
    asked = {"model": model, "messages": messages, "route": {"policy": policy[1], **flags}}
    assert decided(asked, {}) == shown
    words = shlex.split(texts["curl"])
    sent = {word: after for word, after in itertools.pairwise(words) if word == "-d"}
    own = dict(after.split(": ", 1) for word, after in itertools.pairwise(words) if word == "-H")
    assert words[:2] == ["curl", "-s"]
    assert decided(json.loads(sent["-d"]), own, words[2].replace("/v1/chat/completions", "/route")) == shown
    same = ("card", "plan", "candidates", "guard")
    (tmp_path / "my-policy.yaml").write_text(texts["policy YAML"])
    policies = {**shipped.policies, **load_policies(tmp_path, shipped.catalog, shipped.plans)}
    router = Router(shipped.catalog, Policies([*policies.values()]), shipped.predictor, shipped.evidence, shipped.plans)
    with served(make_app(make_gateway(router))) as url:
        by_file = decided({"model": "auto/my-policy", "messages": messages}, {}, f"{url}/route")
    assert {name: by_file[name] for name in same} == {name: shown[name] for name in same}
