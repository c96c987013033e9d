"""Writing evidence so that a crash loses at most what was under way, and a second run asks nothing twice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec
from msgspec import Struct

from router.errors import CallerError, ConfigurationError, FileError
from router.perceive.evidence import ProbeOutcome, file_name, read_evidence

try:
    import fcntl
except ImportError:  # Windows has no flock; there two runs at once are the user's own care.
    fcntl = None  # type: ignore[assignment]

Key = tuple[str, str]


class PendingProbe(Struct, frozen=True):
    """A probe that was sent and whose answer is not there yet, with what it may cost at most."""

    probe: str
    prompt: str
    worst_usd: float

    @property
    def key(self) -> Key:
        """As that of an outcome."""
        return self.probe, self.prompt


class EvidenceLog:
    """The evidence file of one card, open for appending by this process alone.

    `outcomes` are those it holds, `lost` the probes that were under way when an earlier run was killed: they may have
    been paid for, and their answers are gone. `mended` is whether the file ended in a torn line, now cut off.

    Raises CallerError where another run writes the file, FileError where it is damaged, ConfigurationError where it
    cannot be written.
    """

    def __init__(self, folder: Path, card: str) -> None:
        self.file = folder / file_name(card)
        self._sent_file = self.file.with_suffix(".underway.json")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._stream: IO[bytes] = self.file.open("ab")
        except OSError as error:
            raise ConfigurationError(f"{self.file}: cannot be written: {error.strerror}") from None
        try:
            self._lock()
            self.outcomes, self.mended = self._read()
            self.lost: dict[Key, PendingProbe] = {each.key: each for each in self._read_sent()}
        except BaseException:
            self._stream.close()
            raise
        for outcome in self.outcomes:
            self.lost.pop(outcome.key, None)
        self._sent: dict[Key, PendingProbe] = {}

    def __enter__(self) -> EvidenceLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if self.file.exists() and self.file.stat().st_size == 0:
            self.file.unlink()

    def begin(self, batch: Iterable[PendingProbe]) -> None:
        """Note what is about to be sent; it is on the disk when this returns."""
        self._sent = {each.key: each for each in batch}
        self._write_sent({**self.lost, **self._sent}.values())

    def append(self, outcome: ProbeOutcome) -> None:
        """Keep an outcome; it is on the disk when this returns."""
        self._stream.write(msgspec.json.encode(outcome) + b"\n")
        self._flush()
        self.outcomes.append(outcome)
        self.lost.pop(outcome.key, None)

    def finish(self) -> None:
        """Note that nothing is under way: what has no outcome got no answer, and may be asked again."""
        self._sent = {}
        if self.lost:
            self._write_sent(self.lost.values())
        else:
            self._sent_file.unlink(missing_ok=True)

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CallerError(f"{self.file}: another `route onboard` of this card is running") from None

    def _read(self) -> tuple[list[ProbeOutcome], bool]:
        read = read_evidence(self.file)
        size = self.file.stat().st_size
        if read.torn:
            self._stream.truncate(size - read.torn)
        elif size and not self._ends_in_newline(size):
            self._stream.write(b"\n")
        self._flush()
        return list(read.outcomes), read.torn > 0

    def _ends_in_newline(self, size: int) -> bool:
        with self.file.open("rb") as stream:
            stream.seek(size - 1)
            return stream.read(1) == b"\n"

    def _flush(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _read_sent(self) -> list[PendingProbe]:
        try:
            return msgspec.json.decode(self._sent_file.read_bytes(), type=list[PendingProbe])
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileError(str(self._sent_file), None, f"is damaged: {error}; delete it to go on") from None

    def _write_sent(self, sent: Iterable[PendingProbe]) -> None:
        # Replaced whole, so that a crash leaves the old list or the new one.
        draft = self._sent_file.with_suffix(".new")
        with draft.open("wb") as stream:
            stream.write(msgspec.json.encode(list(sent)))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._sent_file)


def earlier_outcomes(folder: Path, card: str) -> Mapping[Key, ProbeOutcome]:
    """What the evidence file of `card` holds, without opening it for writing."""
    return {outcome.key: outcome for outcome in read_evidence(folder / file_name(card)).outcomes}


def set_aside(folder: Path, card: str) -> Path | None:
    """Rename the evidence file of `card` to `….jsonl.old`, replacing an older one; None where there is no file."""
    file = folder / file_name(card)
    with contextlib.suppress(FileNotFoundError):
        file.with_suffix(".underway.json").unlink()
    if not file.exists():
        return None
    return file.replace(file.with_suffix(".jsonl.old"))
