"""Lines go to pipes, sockets, files and nowhere, and no reader holds the writer up."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from router.gateway.telemetry import line_writer
from router.gateway.telemetry.line_writer import LineWriter
from tests.gateway.servers import wait_for
from tests.gateway.telemetry.pipes import fill, text_in


def test_the_mode_of_the_descriptor_is_left_as_it_is() -> None:
    reader, writer = os.pipe()
    LineWriter(writer).write(b"a\n")
    assert os.get_blocking(writer)
    assert text_in(reader) == "a\n"
    os.close(reader)
    os.close(writer)


def test_two_writers_of_a_full_pipe_never_wait() -> None:
    reader, writer = os.pipe()
    writers = [LineWriter(writer) for _ in range(2)]
    # Room for one line: a writer that asks first, and writes then, would wait.
    fill(writer)
    os.read(reader, 4096)
    done = threading.Event()

    def write() -> None:
        for number in range(200):
            writers[number % 2].write(b"x" * 4000 + b"\n")
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(10)
    os.close(reader)
    os.close(writer)


def test_queued_lines_are_written_later_without_another_call() -> None:
    reader, writer = os.pipe()
    fill(writer)
    lines = LineWriter(writer)
    lines.write(b"late\n")
    text: list[str] = []

    def has_arrived() -> bool:
        text.append(text_in(reader))
        return "".join(text).endswith("late\n")

    assert wait_for(has_arrived, 5)
    os.close(reader)
    os.close(writer)


def test_a_socket_that_nobody_reads_never_waits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = LineWriter(ours.fileno())
        for _ in range(20_000):
            writer.write(b"x" * 1000 + b"\n")
        assert writer.dropped > 0
        assert ours.getblocking()


def test_the_queue_has_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "MAX_QUEUED_BYTES", 10_000)
    reader, writer = os.pipe()
    fill(writer)
    lines = LineWriter(writer)
    for _ in range(10):
        lines.write(b"x" * 2000 + b"\n")
    assert lines.dropped == 6
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("open_", [lambda folder: os.open("/dev/full", os.O_WRONLY), lambda folder: 987])
def test_a_full_disk_and_a_closed_descriptor_lose_lines_without_an_error(
    open_: Callable[[Path], int], tmp_path: Path
) -> None:
    writer = LineWriter(open_(tmp_path))
    writer.write(b"a\n")
    assert writer.dropped == 1


def test_lines_are_appended_to_a_file_of_which_the_shell_wrote_a_part(tmp_path: Path) -> None:
    file = tmp_path / "log"
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"shell\n")
    LineWriter(fd).write(b"gateway\n")
    os.close(fd)
    assert file.read_text() == "shell\ngateway\n"


def test_lines_that_are_there_together_are_written_together_as_far_as_a_pipe_takes_them_in_one_piece() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lines = [bytes([letter]) * 1500 + b"\n" for letter in b"abcd"]
    with ours, theirs:
        LineWriter(ours.fileno()).write(*lines, b"e" * 5000 + b"\n", b"f\n")
        pieces = [theirs.recv(10_000) for _ in range(4)]
    assert pieces == [b"".join(lines[:2]), b"".join(lines[2:]), b"e" * 5000 + b"\n", b"f\n"]


def test_lines_of_which_a_pipe_has_taken_a_part_are_completed_in_their_order() -> None:
    reader, writer = os.pipe()
    fill(writer)
    lines = LineWriter(writer)
    wanted = [f"{number}".encode() * 300 + b"\n" for number in range(1000, 1040)]
    lines.write(*wanted)
    text: list[str] = []

    def has_arrived() -> bool:
        text.append(text_in(reader))
        return "".join(text).endswith(wanted[-1].decode())

    assert wait_for(has_arrived, 5)
    assert "".join(text).lstrip(" ") == b"".join(wanted).decode()
    assert lines.dropped == 0
    os.close(reader)
    os.close(writer)
