"""Python searches for garbage again once everything is loaded, whatever was loaded at the same time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.commands.serve import serve
from router.errors import PulvinarError
from router.garbage import resume_search, search_paused


@pytest.fixture(autouse=True)
def _searching() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_the_search_begins_again_when_the_last_pause_ends() -> None:
    with search_paused("start"):
        with search_paused("litellm"):
            assert not gc.isenabled()
            resume_search("start")
            assert not gc.isenabled()
        assert gc.isenabled()
    assert gc.isenabled()


def test_who_has_paused_nothing_resumes_nothing() -> None:
    with search_paused("litellm"):
        resume_search("start")
        assert not gc.isenabled()
    gc.disable()
    resume_search("litellm")
    assert not gc.isenabled()


def test_a_gateway_that_does_not_start_leaves_the_search_as_it_was() -> None:
    with pytest.raises(PulvinarError):
        serve(cards=Path("/no/such/folder"), workers=1)
    assert gc.isenabled()
