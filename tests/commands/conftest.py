from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import Struct

from router import settings
from router.cards import load_catalog
from router.commands import main
from tests.narrow import narrow_encoder, narrow_loaded

__all__ = ["narrow_encoder", "narrow_loaded"]


class Ended(Struct, frozen=True):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


KEY_VARIABLES = tuple(
    sorted({card.api_key_env for card in load_catalog(settings.shipped_cards_folder()) if card.api_key_env})
)
Run = Callable[..., Ended]


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No API key is set, and no server on this machine answers in time."""
    for variable in KEY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("router.commands.reach._TIMEOUT_S", 1e-9)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command line in this process."""

    def call(*arguments: str) -> Ended:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return call
