"""The documentation site builds, leads nowhere wrong, and says what the programs say."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
import typer
import yaml
from typer.exceptions import TyperException

from router.cards.catalog import Catalog, load_catalog
from router.commands import build
from router.decide.policy import Policies, load_policies
from router.gateway.config.gateway_yaml import GatewayConfig, load_config

ROOT = Path(__file__).parents[1]
DOCS, DEPLOY = ROOT / "docs", ROOT / "deploy"
PAGES = sorted(DOCS.rglob("*.md"))
PAGE_IDS = [str(page.relative_to(DOCS)) for page in PAGES]
SHIPPED = ("README.md", *(str(page.relative_to(ROOT)) for page in PAGES))

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n([\s\S]*?)^\1```", re.MULTILINE)
_OURS = re.compile(r"(?:\S*/)?(?:route|pulvinar)")
ROUTE = typer.main.get_command(build())
# What loads something when a page is shown, as opposed to what is followed when somebody clicks.
_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a built page links to, loads, and can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors.update(named[name] for name in ("id", "name") if name in named)
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        if tag in _LOADED and _LOADED[tag] in named:
            self.loaded.append(named[_LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    # The page for unknown addresses is served from anywhere, so its links are absolute.
    built = [page for page in site.rglob("*.html") if page.name != "404.html"]
    return {page.resolve(): Page(page.read_text("utf-8")) for page in built}


def test_every_page_is_on_the_site(pages: dict[Path, Page], site: Path) -> None:
    assert {page.relative_to(site.resolve()) for page in pages} == {
        page.relative_to(DOCS).with_suffix(".html") for page in PAGES
    }


def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, Page]) -> None:
    astray = []
    for place, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (place.parent / unquote(parts.path)).resolve() if parts.path else place
            target = target / "index.html" if target.is_dir() else target
            there = target.exists() and (target not in pages or unquote(parts.fragment) in pages[target].anchors)
            if not there:
                astray.append(f"{place.name}: {link}")
    assert astray == []


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    loaded = {address for page in pages.values() for address in page.loaded if urlsplit(address).netloc}
    styles = [style.read_text("utf-8") for style in site.rglob("*.css")]
    elsewhere = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)")
    loaded |= {found for style in styles for found in elsewhere.findall(style)}
    assert loaded == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_no_page_shows_the_machine_that_it_was_written_on(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert re.findall(r"(?:/(?:(?:work|root)/|(?:tmp|home)/\w)|file://)\S*", text) == []
    assert re.findall(r"https?://[\w.-]*(?:pypi|registry|mirror|proxy|artifactory)[\w.-]*\S*", text) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=["README.md", *PAGE_IDS])
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    wrong = [problem for words in commands_of(page) for problem in problems_of(words)]
    wrong += [problem for words in mentions_of(page) for problem in problems_of(words, mentioned=True)]
    assert wrong == []


def test_the_check_of_commands_sees_what_is_wrong() -> None:
    assert problems_of(["serve", "--prot", "1"]) == ["route serve --prot 1: No such option: --prot"]
    assert problems_of(["keys", "ad", "ci"]) == ["route keys ad ci: there is no command ad"]
    assert problems_of(["keys", "add"]) == ["route keys add: Missing parameter: name"]
    assert problems_of(["keys"]) == ["route keys: names no command"]
    assert problems_of(["keys", "add"], mentioned=True) == []
    assert problems_of(["keys", "add", "--rmp"], mentioned=True) == ["route keys add --rmp: No such option: --rmp"]
    assert problems_of(["records", "tail", "-n", "3", "--json"]) == []
    assert problems_of(["What is 17 times 23?", "--flags", "size<7B"]) == []


def test_commands_are_found_behind_other_programs() -> None:
    assert list(commands_in("sudo /opt/pulvinar/bin/pulvinar keys add ci --file /etc/pulvinar/keys.yaml")) == [
        ["keys", "add", "ci", "--file", "/etc/pulvinar/keys.yaml"]
    ]
    assert list(commands_in("docker run --rm -v config:/etc/pulvinar pulvinar init  # cards")) == [["init"]]
    assert list(commands_in("A=1 route serve && route doctor | head -3")) == [["serve"], ["doctor"]]
    assert list(commands_in("sudo systemctl enable --now pulvinar")) == []


def test_the_shown_gateway_file_is_read_and_has_every_key() -> None:
    shown = DOCS / "gateway.yaml"
    load_config(shown, *catalogue())
    assert set(yaml.safe_load(shown.read_text("utf-8"))) == keys_of_gateway_yaml()


def test_every_key_of_the_gateway_file_is_explained() -> None:
    explained = (DOCS / "serving.md").read_text("utf-8").partition("## gateway.yaml")[2]
    assert {
        key for key in keys_of_gateway_yaml() if not re.search(rf"^\|[^|]*`{key}`", explained, re.MULTILINE)
    } == set()


def test_the_unit_starts_the_gateway_and_waits_for_its_answers() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(DEPLOY / "pulvinar.service")
    unit = parser["Service"]
    program, *words = shlex.split(unit["ExecStart"])
    assert program.endswith("/pulvinar")
    assert problems_of(words) == []
    assert unit["ExecReload"].endswith("-HUP $MAINPID")
    # Otherwise workers get SIGTERM twice, and do not drain.
    assert unit["KillMode"] == "mixed"
    assert float(unit["TimeoutStopSec"]) > longest_stop_s(words)
    assert unread_variables(unit["Environment"]) == set()


def test_the_composed_gateway_is_started_with_options_that_exist() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["gateway"]
    assert problems_of(service["command"]) == []
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert "./config:/etc/pulvinar:ro" in service["volumes"]
    assert (DEPLOY / f"{service['env_file'][0]}.example").exists()
    minutes = re.fullmatch(r"(\d+)m", service["stop_grace_period"])
    assert minutes is not None
    assert int(minutes[1]) * 60 > longest_stop_s(service["command"])


def test_the_pod_is_asked_where_the_gateway_answers_and_gets_time_to_end() -> None:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    pod = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert problems_of(container["args"]) == []
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert pod["terminationGracePeriodSeconds"] > longest_stop_s(container["args"])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    # What is mounted by subPath is never updated.
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_the_image_is_made_of_files_that_are_there_and_runs_without_rights() -> None:
    joined = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in joined.splitlines() if line and not line.startswith("#")]
    copied = {source for name, said in steps if name == "COPY" and "--from" not in said for source in said.split()[:-1]}
    kept = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    assert copied == kept
    assert {source for source in copied if not (ROOT / source).exists()} == set()
    last = dict(steps)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert yaml.safe_load(last["ENTRYPOINT"]) == ["pulvinar"]
    assert problems_of(yaml.safe_load(last["CMD"])) == []
    assert "/healthz" in last["HEALTHCHECK"]
    assert unread_variables(last["ENV"]) == set()


def test_quoted_figures_are_those_of_the_readme() -> None:
    quoted = (DOCS / "benchmarks.md").read_text("utf-8").partition("## The gateway")[0]
    table = [line for line in quoted.splitlines() if line.startswith("| ") and re.search(r"\d", line)]
    measured = re.findall(r"```text\n([\s\S]*?)```", quoted)[0].splitlines()
    assert len(table) > 5
    assert len(measured) > 10
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert [line for line in (*table, *measured) if line not in readme] == []


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words after `route` of every command in a page's shell blocks."""
    for _, language, block in _BLOCK.findall(page.read_text("utf-8")):
        typed = [line.strip() for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
        # What stands after a prompt's sign is typed; the rest of such a block is output.
        prompted = [line[2:] for line in typed if line.startswith("$ ")]
        if language in ("", "console"):
            typed = [line for line in typed if line.startswith("route ")]
        elif language not in ("sh", "bash"):
            typed = []
        for line in prompted or typed:
            if re.search(r"\b(?:route|pulvinar)\b", line) and not line.startswith("curl "):
                yield from commands_in(line)


def mentions_of(page: Path) -> Iterator[list[str]]:
    """The words after `route` of every command that a page's sentences name."""
    for line in re.findall(r"`(route [^`\n]+)`", _BLOCK.sub("", page.read_text("utf-8"))):
        yield from commands_in(line)


def commands_in(line: str) -> Iterator[list[str]]:
    """The words after `route` or `pulvinar` in a line of a shell, also behind `sudo` and `docker run`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if not set(word) <= set("|&;"):
            words.append(word)
            continue
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        places = [place for place, each in enumerate(words) if _OURS.fullmatch(each)]
        behind = words[:1] == ["sudo"] or words[:2] in (["docker", "run"], ["docker", "compose"])
        if places and (places[0] == 0 or behind) and words[places[-1] + 1 :]:
            yield words[(places[-1] if behind else 0) + 1 :]
        words = []


def problems_of(words: list[str], *, mentioned: bool = False) -> list[str]:
    """What `route` itself would say against these words, without doing anything. A command that is only `mentioned`
    may lack what it needs.
    """
    command, rest, said = ROUTE, list(words), f"route {' '.join(words)}"
    while (commands := getattr(command, "commands", None)) and rest and not rest[0].startswith("-"):
        if rest[0] in commands:
            command, rest = commands[rest[0]], rest[1:]
        elif command is ROUTE:
            command = commands["prompt"]
        else:
            return [f"{said}: there is no command {rest[0]}"]
    if commands and not rest:
        return [] if mentioned else [f"{said}: names no command"]
    try:
        command.make_context("route", rest)
    except TyperException as error:
        lacks = re.search(r"Missing parameter|requires an argument", str(error))
        return [] if mentioned and lacks else [f"{said}: {error}"]
    except typer.Exit:
        pass
    return []


def catalogue() -> tuple[Catalog, Policies]:
    cards = load_catalog(ROOT / "model_cards")
    return cards, load_policies(ROOT / "policies", cards)


def keys_of_gateway_yaml() -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(GatewayConfig)}


def longest_stop_s(words: list[str]) -> float:
    """How long a gateway with these options and the deployed settings may take to end."""
    config = load_config(DEPLOY / "config" / "gateway.yaml", *catalogue())
    return float(words[words.index("--drain") + 1]) + config.timeouts.total_s


def unread_variables(text: str) -> set[str]:
    """The variables of ours in `text` that nothing reads."""
    return set(re.findall(r"PULVINAR_\w+", text)) - set(
        re.findall(r"PULVINAR_\w+", (ROOT / "router" / "settings.py").read_text("utf-8"))
    )
