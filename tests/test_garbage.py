"""Python searches for garbage again once everything is loaded, whatever was loaded at the same time."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from router.commands import command
from router.garbage import pause_search, resume_search


@pytest.fixture(autouse=True)
def _searching() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_the_search_begins_again_when_the_last_pause_ends() -> None:
    pause_search("start")
    pause_search("litellm")
    assert not gc.isenabled()
    resume_search("start")
    assert not gc.isenabled()
    resume_search("litellm")
    assert gc.isenabled()


def test_who_has_paused_nothing_resumes_nothing() -> None:
    pause_search("litellm")
    resume_search("start")
    assert not gc.isenabled()
    resume_search("litellm")
    gc.disable()
    resume_search("litellm")
    assert not gc.isenabled()


def test_a_gateway_that_does_not_start_leaves_the_search_as_it_was() -> None:
    result = CliRunner().invoke(command(), ["serve", "--cards", "/no/such/folder"])
    assert result.exit_code != 0
    assert gc.isenabled()
