"""The SDKs' own tests of the calls that the gateway has, from their source distributions, against the gateway."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.clients.docs_pages import FOLDER
from tests.clients.suites.rules import read_rules, rule_of
from tests.clients.suites.run import Suite, SuiteResult, run_suite, source_of
from tests.clients.upstream import Upstream

# Each suite runs once, so one process of a parallel run has them all.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("suites")]

OPENAI = Suite("openai", ("pytest_asyncio.plugin", "respx.plugin"), base_path="/v1")
ANTHROPIC = Suite(
    "anthropic",
    (
        # `respx` must find httpx2 under httpx' name.
        "tests._alias_httpx",
        "pytest_asyncio.plugin",
        "respx.plugin",
        "inline_snapshot.pytest_plugin",
        "http_snapshot._pytest_plugin",
    ),
)
SUITES = (OPENAI, ANTHROPIC)


class Runs:
    """The results of the suites, each of which runs once, and the request bodies by path that the upstream received."""

    def __init__(self, servers: tuple[Upstream, str], factory: pytest.TempPathFactory) -> None:
        self._servers, self._factory = servers, factory
        self._done: dict[str, tuple[SuiteResult, dict[str, list[dict[str, Any]]]]] = {}

    def of(self, suite: Suite) -> tuple[SuiteResult, dict[str, list[dict[str, Any]]]]:
        if suite.package not in self._done:
            upstream, gateway = self._servers
            upstream.seen.clear()
            result = run_suite(suite, gateway, self._factory.mktemp(suite.package) / "report.xml")
            bodies: dict[str, list[dict[str, Any]]] = {}
            for seen in upstream.seen:
                bodies.setdefault(seen.path, []).append(seen.body)
            self._done[suite.package] = result, bodies
        return self._done[suite.package]


@pytest.fixture(scope="module")
def runs(servers: tuple[Upstream, str], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(servers, tmp_path_factory)


every_suite = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.package)


@every_suite
def test_all_selected_tests_pass(runs: Runs, suite: Suite) -> None:
    result, _ = runs.of(suite)
    assert not result.others, result.output


@every_suite
def test_every_file_that_runs_has_passing_tests(runs: Runs, suite: Suite) -> None:
    result, _ = runs.of(suite)
    files = {rule.files for rule in read_rules(suite.rules) if rule.runs}
    assert {file for file in files if result.passed[file] < 5} == set()


@every_suite
def test_every_file_of_the_suite_has_a_rule(suite: Suite) -> None:
    tests = source_of(suite) / "sdist" / "tests"
    files = [file.relative_to(tests).as_posix() for file in tests.rglob("test_*.py")]
    rules = read_rules(suite.rules)
    assert [file for file in files if rule_of(rules, file, "test_method_create_list_retrieve_delete") is None] == []


@every_suite
def test_the_docs_state_how_many_tests_pass(runs: Runs, suite: Suite) -> None:
    result, _ = runs.of(suite)
    page = (FOLDER / "index.md").read_text(encoding="utf-8")
    (stated,) = re.findall(rf"^\| {suite.package}[^|]*\| [^|]+ \| (\d+) \|", page, re.MULTILINE)
    assert int(stated) == sum(result.passed.values())


@pytest.mark.parametrize(
    ("suite", "path", "fields"),
    [
        (OPENAI, "/v1/chat/completions", {"verbosity": "low", "max_completion_tokens": 0, "seed": -9007199254740991}),
        (OPENAI, "/v1/completions", {"best_of": 0, "suffix": "test.", "logprobs": 0}),
        (OPENAI, "/v1/embeddings", {"dimensions": 1, "encoding_format": "float"}),
        (OPENAI, "/v1/responses", {"background": True, "conversation": "string", "max_tool_calls": 0}),
        (ANTHROPIC, "/v1/messages", {"inference_geo": "inference_geo", "service_tier": "auto"}),
        (ANTHROPIC, "/v1/messages/count_tokens", {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ],
    ids=lambda value: value.package if isinstance(value, Suite) else "",
)
def test_request_parameters_reach_the_upstream(runs: Runs, suite: Suite, path: str, fields: dict[str, Any]) -> None:
    _, bodies = runs.of(suite)
    longest = max(bodies[path], key=len)
    assert {name: longest.get(name) for name in fields} == fields
