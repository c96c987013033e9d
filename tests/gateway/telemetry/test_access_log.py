"""The access log: the fields of a line, and that a slow reader never blocks the gateway."""

from __future__ import annotations

import asyncio
import json
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.gateway.telemetry import line_writer
from router.gateway.telemetry.access_log import AccessLog, AccessLogLine, line_of
from router.gateway.telemetry.line_writer import LineWriter
from router.store.records.record import Record
from router.types import Attempt, Outcome, Usage
from tests.gateway.telemetry.pipes import Pipe, fill
from tests.gateway.telemetry.records import a_record, records

DOCUMENTED = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def read_lines(fd: int) -> list[dict[str, Any]]:
    """The lines in the pipe now."""
    data = b""
    while select.select([fd], [], [], 0)[0] and (more := os.read(fd, 1 << 20)):
        data += more
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def on_a_loop(do: Callable[[], None]) -> None:
    async def main() -> None:
        do()

    asyncio.run(main())


def test_a_line_has_the_request_the_decision_and_the_outcome(pipe: Pipe) -> None:
    AccessLog(LineWriter(pipe[1])).write([a_record()])
    assert read_lines(pipe[0]) == [
        {
            "time": "2026-11-23T18:00:00.250Z",
            "id": "req_1",
            "surface": "chat",
            "client": "192.0.2.7",
            "key": "team-a",
            "asked": "auto/cheap[size<9B]",
            "policy": "cheap",
            "card": "qwen3-8b",
            "status": 200,
            "stream": True,
            "input_tokens": 1200,
            "output_tokens": 80,
            "cached_input_tokens": 1000,
            "cost_usd": 0.000123457,
            "ttft_ms": 210.5,
            "total_ms": 912.346,
            "overhead_ms": 0.412,
            "retries": 1,
            "faults": ["rate_limited"],
            "error": None,
        }
    ]


def test_unknown_fields_are_null_and_every_line_has_the_same_fields() -> None:
    refused = Record("req_2", 0.0, "messages", "gpt-9", False, Outcome(404, 0.2, error="model_not_found"))
    line = json.loads(line_of(refused))
    assert list(line) == list(json.loads(line_of(a_record())))
    unknown = {
        "client",
        "key",
        "policy",
        "card",
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "cost_usd",
        "ttft_ms",
    }
    assert {name for name, value in line.items() if value is None} == unknown
    assert (line["faults"], line["retries"], line["error"]) == ([], 0, "model_not_found")


def test_a_line_contains_no_prompt_session_or_deployment() -> None:
    attempt = Attempt("c", "https://user:sk-secret@host/v1", 500, 1.0, "connect to https://host failed")
    outcome = Outcome(502, 1.0, attempts=(attempt,), error="see https://host/v1?key=sk-secret")
    record = Record("req_3", 0.0, "chat", "auto", False, outcome, session="sess-secret", prompt=b"secret words")
    line = line_of(record)
    assert b"secret" not in line
    assert b"http" not in line
    assert json.loads(line)["faults"] == ["other"]
    assert json.loads(line)["error"] == "other"


@given(records)
def test_any_record_is_one_line_that_is_written_atomically(record: Record) -> None:
    line = line_of(record)
    assert len(line) <= select.PIPE_BUF
    assert line.count(b"\n") == 1
    assert json.loads(line)["status"] == record.outcome.status


@given(st.text(max_size=400))
def test_a_model_name_is_cut_and_escaped(model: str) -> None:
    assert json.loads(line_of(a_record(asked=model)))["asked"] == model[:128]


def test_half_a_surrogate_pair_in_a_model_name_becomes_a_question_mark() -> None:
    assert json.loads(line_of(a_record(asked="a\ud800b")))["asked"] == "a?b"


def test_lines_are_queued_without_a_reader_and_written_in_order_later(pipe: Pipe) -> None:
    async def main() -> None:
        fill(pipe[1])
        log = AccessLog(LineWriter(pipe[1]))
        for number in range(3):
            log.write([a_record(id=str(number))])
        os.read(pipe[0], 1 << 20)
        while not select.select([pipe[0]], [], [], 0)[0]:
            await asyncio.sleep(0.01)
        log.write([a_record(id="3")])
        assert [line["id"] for line in read_lines(pipe[0])] == ["0", "1", "2", "3"]
        assert log.dropped == 0

    asyncio.run(main())


def test_lines_beyond_the_queue_are_counted_as_dropped(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "MAX_QUEUED_LINES", 5)
    fill(pipe[1])
    log = AccessLog(LineWriter(pipe[1]))
    on_a_loop(lambda: log.write([a_record()] * 8))
    assert log.dropped == 3


def test_closing_writes_the_queued_lines(pipe: Pipe) -> None:
    fill(pipe[1])
    log = AccessLog(LineWriter(pipe[1]))
    on_a_loop(lambda: log.write([a_record()]))
    os.read(pipe[0], 1 << 20)
    log.close()
    assert len(read_lines(pipe[0])) == 1
    assert log.dropped == 0


def test_closing_does_not_wait_for_a_reader_that_has_stopped(pipe: Pipe) -> None:
    fill(pipe[1])
    log = AccessLog(LineWriter(pipe[1]))
    on_a_loop(lambda: log.write([a_record()]))
    log.close(timeout_s=0.01)
    assert log.dropped == 1


def test_after_the_reader_has_gone_lines_are_dropped_without_an_error(pipe: Pipe) -> None:
    os.close(pipe[0])
    log = AccessLog(LineWriter(pipe[1]))
    log.write([a_record()])
    assert log.dropped == 1


def test_several_workers_can_share_one_pipe(pipe: Pipe) -> None:
    logs = [AccessLog(LineWriter(pipe[1])) for _ in range(4)]
    for number in range(40):
        logs[number % 4].write([a_record(usage=Usage(number, 0))])
    assert [line["input_tokens"] for line in read_lines(pipe[0])] == list(range(40))


def test_every_field_is_documented() -> None:
    documentation = DOCUMENTED.read_text("utf-8")
    assert [name for name in AccessLogLine.__struct_encode_fields__ if f"`{name}`" not in documentation] == []


def test_a_partial_write_is_continued(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, line: write(fd, line[:100]))
    AccessLog(LineWriter(pipe[1])).write([a_record()])
    assert [line["id"] for line in read_lines(pipe[0])] == ["req_1"]
