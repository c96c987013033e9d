"""The error log: nothing that logs, warns or prints waits for its reader, or forges a line."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator

import pytest

from router.gateway.telemetry.error_log import Writers
from tests.gateway.telemetry.pipes import Pipe, fill, text_in

_LOG = logging.getLogger("tests.error_log")


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_log_calls_warnings_and_prints_become_lines(pipe: Pipe) -> None:
    with Writers(pipe[1], pipe[1]).installed(), warnings.catch_warnings():
        warnings.simplefilter("always")
        _LOG.warning("logged %d", 1)
        warnings.warn("warned", stacklevel=1)
        print("printed", file=sys.stderr)
        logging.getLogger("uvicorn.error").error("server")
    text = text_in(pipe[0])
    assert text.startswith("logged 1\n")
    assert "UserWarning: warned" in text
    assert text.endswith("printed\nserver\n")


def test_nothing_waits_for_a_reader_that_has_stopped(pipe: Pipe) -> None:
    fill(pipe[1])
    writers = Writers(pipe[1], pipe[1])
    with writers.installed():
        for number in range(200):
            _LOG.error("line %d", number)
            print("x" * 5000, file=sys.stderr)
    assert writers.errors_dropped > 0
    assert writers.output.dropped > 0


def test_text_of_a_client_never_begins_a_line(pipe: Pipe) -> None:
    with Writers(pipe[1], pipe[1]).installed():
        _LOG.warning("from a client: %s", "a\nFAKE LINE\r\x1b[31m\u2028")
    assert text_in(pipe[0]) == "from a client: a\\nFAKE LINE\\r\\x1b[31m\\u2028\n"


def test_a_traceback_is_indented_below_its_message(pipe: Pipe) -> None:
    with Writers(pipe[1], pipe[1]).installed():
        try:
            raise ValueError("a\nb")
        except ValueError:
            _LOG.exception("failed")
    lines = text_in(pipe[0]).splitlines()
    assert lines[0] == "failed"
    assert all(line.startswith("  ") for line in lines[1:])
    assert lines[-2:] == ["  ValueError: a", "  b"]


def test_a_place_that_logs_too_often_is_limited_and_others_are_not(pipe: Pipe) -> None:
    writers = Writers(pipe[1], pipe[1])
    with writers.installed():
        for _ in range(1000):
            _LOG.warning("garbage")
        _LOG.warning("something else")
    lines = text_in(pipe[0]).splitlines()
    assert lines[-1] == "something else"
    assert len(lines) < 60
    assert writers.errors_dropped == 1000 - (len(lines) - 1)


def test_a_message_that_cannot_be_formatted_is_reported_by_its_place(pipe: Pipe) -> None:
    with Writers(pipe[1], pipe[1]).installed():
        _LOG.warning("%d", "text")
    assert "cannot be formatted" in text_in(pipe[0])


def test_afterwards_the_streams_and_handlers_are_as_before(pipe: Pipe) -> None:
    before = sys.stdout, sys.stderr, logging.getLogger().handlers[:]
    with Writers(pipe[1], pipe[1]).installed():
        pass
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == before
