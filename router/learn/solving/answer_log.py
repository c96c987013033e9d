"""The answers of a task's examples, in one file beside the task: what was asked is never asked or paid for twice.

Every call is written before it is sent, with the most that it may cost, and again with its answer. A call without an
answer (the run was killed, the connection broke) counts as spent at the most that it may cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from router.errors import FileError
from router.formats.appended_file import AppendedFile
from router.types import Usage


class Sent(Struct, frozen=True, tag="sent", tag_field="event"):
    """A call that is about to be made. `key` identifies the request, `call` the call within the file."""

    call: int
    card: str
    model: str
    example: str
    key: str
    worst_usd: float


class Answered(Struct, frozen=True, omit_defaults=True, tag="answered", tag_field="event"):
    """The answer of a call. `usage` and `cost_usd` are None where the endpoint did not report the tokens."""

    call: int
    text: str
    latency_ms: float
    ttft_ms: float | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    cut_off: bool = False


class Failed(Struct, frozen=True, tag="failed", tag_field="event"):
    """A call that the endpoint refused; it costs nothing."""

    call: int
    reason: str


Event = Sent | Answered | Failed


class Asked(NamedTuple):
    """Which request was asked of which card: `key` is that of the request, `model` the upstream's name of the model."""

    card: str
    model: str
    key: str


class Account:
    """What the events of a file come to. `answers` are by request, `unanswered` the calls of which nothing is known;
    `spent_usd` counts those at the most that they may cost.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.answers: dict[Asked, Answered] = {}
        self.unanswered: dict[int, Sent] = {}
        self.spent_usd = 0.0
        self.next_call = 0
        for event in events:
            self.take(event)

    def take(self, event: Event) -> None:
        """Count an event. Raises KeyError for the outcome of a call that was never made."""
        if isinstance(event, Sent):
            self.unanswered[event.call] = event
            self.next_call = event.call + 1
            self.spent_usd += event.worst_usd
            return
        sent = self.unanswered.pop(event.call)
        if isinstance(event, Failed):
            self.spent_usd -= sent.worst_usd
            return
        if event.cost_usd is not None:
            self.spent_usd += event.cost_usd - sent.worst_usd
        self.answers[Asked(sent.card, sent.model, sent.key)] = event


class AnswerLog(AppendedFile):
    """The file, open for appending and locked for other processes; `account` is what it comes to.

    Raises CallerError where another run writes it, FileError where it is damaged, ConfigurationError where it cannot
    be written.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file, "`route solve` of this task")
        try:
            self.account = Account(self._repaired())
        except BaseException:
            self._stream.close()
            raise

    def begin(self, asked: Asked, example: str, worst_usd: float) -> int:
        """Note a call, which is on the disk on return; the number of the call."""
        sent = Sent(self.account.next_call, asked.card, asked.model, example, asked.key, worst_usd)
        self._write(sent)
        return sent.call

    def end(self, event: Answered | Failed) -> None:
        """Write the result of a call; it is on the disk on return."""
        self._write(event)

    def _write(self, event: Event) -> None:
        self._append(msgspec.json.encode(event) + b"\n")
        self.account.take(event)

    def _repaired(self) -> list[Event]:
        """The events in the file; an incomplete last line, which a crash leaves, is removed."""
        events, kept = _read(self.file)
        if kept < self.file.stat().st_size:
            self._stream.truncate(kept)
        return events


def earlier(file: Path) -> Account:
    """What the file of earlier runs comes to; it is not opened for writing."""
    return Account(_read(file)[0])


def _read(file: Path) -> tuple[list[Event], int]:
    """The events in a file, and the bytes of its complete lines. Raises FileError naming the line."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return [], 0
    kept = content.rfind(b"\n") + 1
    events: list[Event] = []
    open_calls: set[int] = set()
    for number, line in enumerate(content[:kept].splitlines(), start=1):
        try:
            event = msgspec.json.decode(line, type=Event)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(str(file), number, f"is damaged: {error}; delete the file to start over") from None
        if isinstance(event, Sent) == (event.call in open_calls):
            raise FileError(str(file), number, f"is damaged: call {event.call}; delete the file to start over")
        open_calls ^= {event.call}
        events.append(event)
    return events, kept
