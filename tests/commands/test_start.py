"""What the command line imports before it answers: this, unlike a time, is the same on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from router.commands import command
from router.commands.index import COMMANDS, coerce_directly
from tests.commands.conftest import Run

START = """
import sys
from router.commands import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sys.modules, file=sys.stderr)
"""
NOT_FOR_HELP = {"numpy", "msgspec", "yaml", "tokenizers", "urllib.request", "router.commands.prompt", "router.types"}
NOT_FOR_A_DECISION = {
    # Libraries of the gateway, of training and of other output.
    *("aiohttp", "httpx", "starlette", "litellm", "sklearn", "scipy", "torch", "rich", "pydantic", "prometheus_client"),
    # Parts of Python that the command line needs only where a server on this machine is asked.
    *("asyncio", "ssl", "urllib.request"),
    *("router.commands.serve", "router.compose.split.words", "router.dispatch.dispatcher"),
}
NEVER = {"pydantic", "rich", "asyncio", "sklearn", "scipy", "torch", "litellm", "aiohttp", "httpx", "ssl"}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The modules that are imported for the help, and for a decision where a key is set and no local server runs."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "here.yaml").write_text("{id: here, provider: vllm, model: here, base_url: 'http://127.0.0.1:9/v1'}\n")
    (folder / "there.yaml").write_text("{id: there, provider: gemini, model: there, api_key_env: GEMINI_API_KEY}\n")
    environment, of_each = {**os.environ, "GEMINI_API_KEY": "test", "PULVINAR_CARDS": str(folder)}, {}
    for arguments in (["--help"], ["What is 17 * 23?", "--json"]):
        ended = subprocess.run(
            [sys.executable, "-c", START, *arguments], capture_output=True, text=True, env=environment, check=True
        )
        of_each[arguments[0]] = set(ended.stderr.split())
    return of_each


def test_the_help_imports_nothing_that_routes(imported: dict[str, set[str]]) -> None:
    assert imported["--help"] & (NOT_FOR_HELP | NEVER) == set()


def test_a_decision_imports_nothing_that_calls_or_trains(imported: dict[str, set[str]]) -> None:
    assert imported["What is 17 * 23?"] & (NOT_FOR_A_DECISION | NEVER) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_describes_a_command_with_the_beginning_of_its_own_help(name: str) -> None:
    loaded = command().commands[name]
    assert (loaded.get_short_help_str(1_000), loaded.hidden) == (COMMANDS[name][1], False)


def test_every_command_of_a_listed_module_is_listed() -> None:
    from router.commands.index import _commands_of

    modules = {module for module, _ in COMMANDS.values()}
    assert {name for module in modules for name in _commands_of(module)} == set(COMMANDS)


def test_an_option_that_needs_conversion_is_converted(run: Run) -> None:
    ended = run("prompt", "hello", "--top", "none")
    assert (ended.code, "--top" in ended.err) == (2, True)


@pytest.mark.parametrize("missing", ["_runtime_param", "type_descriptor", "get_runtime_param"])
def test_a_typer_with_other_inner_attributes_coerces_by_itself(missing: str) -> None:
    descriptor = SimpleNamespace(annotation=str, parameter_info=SimpleNamespace(parser=None))
    inner = {"_runtime_param": None, "type_descriptor": descriptor, "get_runtime_param": lambda: None}
    whole, other = SimpleNamespace(**inner), SimpleNamespace(**{k: v for k, v in inner.items() if k != missing})
    before = dict(vars(other))
    for parameter in (whole, other):
        coerce_directly(SimpleNamespace(params=[parameter], get_help_option=None))
    assert whole._runtime_param is not None
    assert vars(other) == before
