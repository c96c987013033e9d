from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import Struct

from router.commands import main


class Ended(Struct, frozen=True):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


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
