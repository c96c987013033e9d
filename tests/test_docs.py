"""The documentation site builds, its links work, and its commands and settings exist."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
import typer
import yaml
from typer.exceptions import TyperException

from router.cards.catalog import Catalog, load_catalog
from router.commands import command
from router.decide.policy import Policies, load_policies
from router.errors import ConfigurationError
from router.gateway.config.gateway_yaml import GatewayConfig, load_config

ROOT = Path(__file__).parents[1]
DOCS, DEPLOY = ROOT / "docs", ROOT / "deploy"
PAGES = sorted(DOCS.rglob("*.md"))
PAGE_IDS = [str(page.relative_to(DOCS)) for page in PAGES]
SHIPPED = ("README.md", *(str(page.relative_to(ROOT)) for page in PAGES))

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n([\s\S]*?)^\1```", re.MULTILINE)
_COMMAND = re.compile(r"(?:\S*/)?(?:route|pulvinar)")
ROUTE = command()
# Attributes of resources that a browser loads with the page, as opposed to links.
_LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The links, loaded resources and anchors of a built page."""

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
    # The 404 page is served for any path, so its links are absolute.
    built = [page for page in site.rglob("*.html") if page.name != "404.html"]
    return {page.resolve(): Page(page.read_text("utf-8")) for page in built}


def test_every_page_is_on_the_site(pages: dict[Path, Page], site: Path) -> None:
    assert {page.relative_to(site.resolve()) for page in pages} == {
        page.relative_to(DOCS).with_suffix(".html") for page in PAGES
    }


def test_every_link_and_anchor_exists(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            exists = target.exists() and (target not in pages or unquote(parts.fragment) in pages[target].anchors)
            if not exists:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_no_page_loads_external_resources(pages: dict[Path, Page], site: Path) -> None:
    loaded = {address for page in pages.values() for address in page.loaded if urlsplit(address).netloc}
    styles = [style.read_text("utf-8") for style in site.rglob("*.css")]
    external = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)")
    loaded |= {url for style in styles for url in external.findall(style)}
    assert loaded == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_no_page_has_paths_or_mirrors_of_the_authors_machine(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert re.findall(r"(?:/(?:(?:work|root)/|(?:tmp|home)/\w)|file://)\S*", text) == []
    assert re.findall(r"https?://[\w.-]*(?:pypi|registry|mirror|proxy|artifactory)[\w.-]*\S*", text) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=["README.md", *PAGE_IDS])
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    problems = [problem for words in commands_of(page) for problem in problems_of(words)]
    problems += [problem for words in mentions_of(page) for problem in problems_of(words, mentioned=True)]
    assert problems == []


def test_the_check_of_commands_finds_problems() -> None:
    assert problems_of(["serve", "--prot", "1"]) == ["route serve --prot 1: No such option: --prot"]
    assert problems_of(["keys", "ad", "ci"]) == ["route keys ad ci: unknown command ad"]
    assert problems_of(["keys", "add"]) == ["route keys add: Missing parameter: name"]
    assert problems_of(["keys"]) == ["route keys: missing command"]
    assert problems_of(["keys", "add"], mentioned=True) == []
    assert problems_of(["keys", "add", "--rmp"], mentioned=True) == ["route keys add --rmp: No such option: --rmp"]
    assert problems_of(["records", "tail", "-n", "3", "--json"]) == []
    assert problems_of(["What is 17 times 23?", "--flags", "size<7B"]) == []


def test_commands_are_found_after_other_programs() -> None:
    assert list(commands_in("sudo /opt/pulvinar/bin/pulvinar keys add ci --file /etc/pulvinar/keys.yaml")) == [
        ["keys", "add", "ci", "--file", "/etc/pulvinar/keys.yaml"]
    ]
    assert list(commands_in("docker run --rm -v config:/etc/pulvinar pulvinar init  # cards")) == [["init"]]
    assert list(commands_in("A=1 route serve && route doctor | head -3")) == [["serve"], ["doctor"]]
    assert list(commands_in("route serve --port 1 > gateway.log 2>&1 &")) == [["serve", "--port", "1"]]
    assert list(commands_in("sudo systemctl enable --now pulvinar")) == []


def test_the_example_gateway_yaml_is_valid_and_has_every_key() -> None:
    shown = DOCS / "gateway.yaml"
    load_config(shown, *catalogue())
    assert set(yaml.safe_load(shown.read_text("utf-8"))) == keys_of_gateway_yaml()


def test_every_key_of_gateway_yaml_is_documented() -> None:
    documented = (DOCS / "serving.md").read_text("utf-8").partition("## gateway.yaml")[2]
    assert {
        key for key in keys_of_gateway_yaml() if not re.search(rf"^\|[^|]*`{key}`", documented, re.MULTILINE)
    } == set()


def test_the_systemd_unit_starts_the_gateway_and_waits_for_running_requests() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(DEPLOY / "pulvinar.service")
    unit = parser["Service"]
    program, *words = shlex.split(unit["ExecStart"])
    assert program.endswith("/pulvinar")
    assert problems_of(words) == []
    assert unit["ExecReload"].endswith("-HUP $MAINPID")
    # What may pass is tried again without end, a wrong configuration never.
    assert set(unit["RestartPreventExitStatus"].split()) == {"2", str(ConfigurationError.exit_code)}
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    # Otherwise workers get SIGTERM twice and do not drain.
    assert unit["KillMode"] == "mixed"
    assert float(unit["TimeoutStopSec"]) > longest_stop_s(words)
    assert unread_variables(unit["Environment"]) == set()


def test_the_compose_file_uses_existing_options_and_files() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["gateway"]
    assert problems_of(service["command"]) == []
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert "./config:/etc/pulvinar:ro" in service["volumes"]
    assert all((DEPLOY / f"{file['path']}.example").exists() for file in service["env_file"])
    minutes = re.fullmatch(r"(\d+)m", service["stop_grace_period"])
    assert minutes is not None
    assert int(minutes[1]) * 60 > longest_stop_s(service["command"])


def test_every_service_of_the_compose_file_runs_without_privileges_and_images_of_others_have_digests() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # The image of the gateway states its own user.
        if name != "gateway":
            assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
            assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", service["image"]), name
            assert "ports" not in service, name
    # The hosts in the example are those of the services.
    example = (DEPLOY / "shared.env.example").read_text("utf-8")
    assert set(re.findall(r"(?://|@)(\w+):\d+/", example)) == set(services) - {"gateway"}


def test_the_image_of_a_release_differs_from_that_of_a_checkout_only_in_what_it_installs() -> None:
    own, release = ((DEPLOY / name).read_text("utf-8") for name in ("Dockerfile", "release.Dockerfile"))
    assert own.partition("FROM ${PYTHON}\n")[2] == release.partition("FROM ${PYTHON}\n")[2]
    assert re.findall(r"^ARG PYTHON=.*$", own, re.M) == re.findall(r"^ARG PYTHON=.*$", release, re.M)


def test_the_image_copies_existing_files_and_runs_unprivileged() -> None:
    joined = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in joined.splitlines() if line and not line.startswith("#")]
    copied = {source for name, rest in steps if name == "COPY" and "--from" not in rest for source in rest.split()[:-1]}
    included = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"
    }
    assert copied == included
    assert {source for source in copied if not (ROOT / source).exists()} == set()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], *wheel["shared-data"], "hatch_build.py", "kernel/build.py"}
    assert {path for path in needed if not copied.intersection(map(str, (path, *Path(path).parents)))} == set()
    last = dict(steps)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert yaml.safe_load(last["ENTRYPOINT"]) == ["pulvinar"]
    assert problems_of(yaml.safe_load(last["CMD"])) == []
    assert "/healthz" in last["HEALTHCHECK"]
    assert unread_variables(last["ENV"]) == set()


def test_figures_on_the_benchmarks_page_are_those_of_the_readme() -> None:
    text = (DOCS / "benchmarks.md").read_text("utf-8").partition("## Credible forecasts")[0]
    table = [line for line in text.splitlines() if line.startswith("| ") and re.search(r"\d", line)]
    measured = re.findall(r"```text\n([\s\S]*?)```", text)[0].splitlines()
    assert len(table) > 5
    assert len(measured) > 3
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert [line for line in (*table, *measured) if line not in readme] == []


def commands_of(page: Path) -> Iterator[list[str]]:
    """The arguments of every `route` command in a page's shell blocks."""
    for _, language, block in _BLOCK.findall(page.read_text("utf-8")):
        typed = [line.strip() for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
        # Lines after a prompt sign are typed; the rest of such a block is output.
        prompted = [line[2:] for line in typed if line.startswith("$ ")]
        if language in ("", "console"):
            typed = [line for line in typed if line.startswith("route ")]
        elif language not in ("sh", "bash"):
            typed = []
        for line in prompted or typed:
            if re.search(r"\b(?:route|pulvinar)\b", line) and not line.startswith("curl "):
                yield from commands_in(line)


def mentions_of(page: Path) -> Iterator[list[str]]:
    """The arguments of every `route` command in a page's text."""
    for line in re.findall(r"`(route [^`\n]+)`", _BLOCK.sub("", page.read_text("utf-8"))):
        yield from commands_in(line)


def commands_in(line: str) -> Iterator[list[str]]:
    """The arguments of every `route` or `pulvinar` command in a shell line, also after `sudo` and `docker run`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if not set(word) <= set("|&;"):
            words.append(word)
            continue
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        # Where the output goes is no argument.
        words = list(takewhile(lambda each: not re.fullmatch(r"\d?>>?", each), words))
        positions = [position for position, word in enumerate(words) if _COMMAND.fullmatch(word)]
        is_prefixed = words[:1] == ["sudo"] or words[:2] in (["docker", "run"], ["docker", "compose"])
        if positions and (positions[0] == 0 or is_prefixed) and words[positions[-1] + 1 :]:
            yield words[(positions[-1] if is_prefixed else 0) + 1 :]
        words = []


def problems_of(words: list[str], *, mentioned: bool = False) -> list[str]:
    """The errors of `route` for these arguments, without running the command.

    A command that is only `mentioned` may omit required arguments.
    """
    command, rest, command_line = ROUTE, list(words), f"route {' '.join(words)}"
    while (commands := getattr(command, "commands", None)) and rest and not rest[0].startswith("-"):
        if rest[0] in commands:
            command, rest = commands[rest[0]], rest[1:]
        elif command is ROUTE:
            command = commands["prompt"]
        else:
            return [f"{command_line}: unknown command {rest[0]}"]
    if commands and not rest:
        return [] if mentioned else [f"{command_line}: missing command"]
    try:
        command.make_context("route", rest)
    except TyperException as error:
        is_incomplete = re.search(r"Missing parameter|requires an argument", str(error))
        return [] if mentioned and is_incomplete else [f"{command_line}: {error}"]
    except typer.Exit:
        pass
    return []


def catalogue() -> tuple[Catalog, Policies]:
    cards = load_catalog(ROOT / "model_cards")
    return cards, load_policies(ROOT / "policies", cards)


def keys_of_gateway_yaml() -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(GatewayConfig)}


def longest_stop_s(words: list[str]) -> float:
    """The maximum shutdown time of a gateway with these options and the deployed settings."""
    config = load_config(DEPLOY / "config" / "gateway.yaml", *catalogue())
    return float(words[words.index("--drain") + 1]) + config.timeouts.total_s


def unread_variables(text: str) -> set[str]:
    """The PULVINAR variables in `text` that the settings do not read."""
    return set(re.findall(r"PULVINAR_\w+", text)) - set(
        re.findall(r"PULVINAR_\w+", (ROOT / "router" / "settings.py").read_text("utf-8"))
    )
