"""What the command line imports before it answers: this, unlike a time, is the same on every machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
import typer.main

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
    *("router.commands.serve", "router.compose.split.words", "router.dispatch.dispatcher", "router.wire.request"),
}
NOT_FOR_A_GATEWAY = {
    # Libraries that only some requests, policies or files need.
    *("aiohttp", "httpx", "litellm", "pydantic", "regex", "rich", "scipy", "sklearn", "torch", "yaml"),
    # Patterns that take long to compile.
    *("router.compose.split.words", "router.learn.onboarding.answers"),
}
NEVER = {"pydantic", "rich", "asyncio", "sklearn", "scipy", "torch", "litellm", "aiohttp", "httpx", "ssl"}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The modules that are imported for the help, and for a decision where a key is set and no local server runs."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "here.yaml").write_text("{id: here, provider: vllm, model: here, base_url: 'http://127.0.0.1:9/v1'}\n")
    (folder / "there.yaml").write_text("{id: there, provider: gemini, model: there, api_key_env: GEMINI_API_KEY}\n")
    environment, of_each = {**os.environ, "GEMINI_API_KEY": "test", "PULVINAR_CARDS": str(folder)}, {}
    for arguments in (["--help"], ["What is 17 * 23?", "--json", "--top", "3", "--cards", str(folder)]):
        ended = subprocess.run(
            [sys.executable, "-c", START, *arguments], capture_output=True, text=True, env=environment, check=True
        )
        of_each[arguments[0]] = set(ended.stderr.split())
    return of_each


def test_the_help_imports_nothing_that_routes(imported: dict[str, set[str]]) -> None:
    assert imported["--help"] & (NOT_FOR_HELP | NEVER) == set()


def test_a_decision_imports_nothing_that_calls_or_trains(imported: dict[str, set[str]]) -> None:
    assert imported["What is 17 * 23?"] & (NOT_FOR_A_DECISION | NEVER) == set()


def test_a_gateway_imports_nothing_that_few_requests_need() -> None:
    code = "import sys, router.gateway.server.serve; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) & NOT_FOR_A_GATEWAY == set()


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


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--count", count] for count in ("3", "007", "0", "65536", "-1", "+3", "1_0", "٣", "3.0", "", "9" * 40)),
        *(["--share", share] for share in ("0.25", ".5", "1e-1", "1", "2.5", "nan", "-0.1")),
        *(["--folder", folder] for folder in ("", ".", "-", "not/there", "a//b/../c", "~")),
        *(["--text", text] for text in ("", "3")),
        *([flag] for flag in ("--flag", "--no-flag")),
        [],
    ],
)
def test_an_option_has_the_value_that_typer_makes_of_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    results = []
    for is_direct in (False, True):
        app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
        app.command()(_shown)
        with_options = typer.main.get_command(app)
        if is_direct:
            coerce_directly(with_options)
        with pytest.raises(SystemExit) as ended:
            with_options(arguments, prog_name="route")
        results.append((ended.value.code, capsys.readouterr()))
    assert results[0] == results[1]


def _shown(
    count: Annotated[int, typer.Option(min=1, max=65535)] = 1,
    share: Annotated[float, typer.Option(min=0, max=1)] = 0.5,
    folder: Annotated[Path | None, typer.Option()] = None,
    text: Annotated[str, typer.Option()] = "",
    flag: Annotated[bool, typer.Option()] = False,
) -> None:
    print(repr((count, share, folder, text, flag)))


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
